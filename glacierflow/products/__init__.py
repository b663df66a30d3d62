"""What an image is as a file and beside it, whether one is there, and whether a tree of them is right."""
