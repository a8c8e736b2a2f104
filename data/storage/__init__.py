"""Files by path, on this machine and in Cloud Storage."""
