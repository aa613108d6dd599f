"""Test sets: specifications, downloads and image folders."""
