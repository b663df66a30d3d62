"""What keeps the bucket and this machine in step: settings and sources up, results down."""
