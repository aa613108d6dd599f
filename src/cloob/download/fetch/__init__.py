"""Download of the images in a URL table with img2dataset."""
