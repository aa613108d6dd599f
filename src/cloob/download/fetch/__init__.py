"""Download the images of a URL table with img2dataset."""
