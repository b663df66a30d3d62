"""The archive of images that the embedded cloud offers, and its STAC API."""
