"""Every setting: its documentation, its default and its checks."""
