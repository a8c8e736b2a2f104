"""Every setting: where it is documented, read and checked."""
