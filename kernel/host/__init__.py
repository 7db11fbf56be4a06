"""What the core runs on: sockets, processes, files, signals. All that touches the world."""
