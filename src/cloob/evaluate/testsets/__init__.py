"""Test sets: specs, preparation and image folders."""
