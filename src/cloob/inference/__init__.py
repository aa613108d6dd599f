"""Use a trained model on your own images: classify them, search a folder, export the model."""
