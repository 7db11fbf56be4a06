"""Programs that make what the package ships; nothing of the running system needs them."""
