"""The scheduler: a slim function that plans, looks and decides, and never touches a pixel."""
