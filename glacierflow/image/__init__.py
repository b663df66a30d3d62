"""The container image of a child: built, pushed, pinned and run here."""
