"""How fast does the ice move? From pairs of clips to velocity granules."""
