"""AWS, asked: one service a file, and its errors in plain words."""
