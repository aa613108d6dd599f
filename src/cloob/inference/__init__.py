"""Use a trained model on your own pictures: classify them, search a folder, export the model."""
