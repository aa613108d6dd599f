"""Downloading images with img2dataset."""
