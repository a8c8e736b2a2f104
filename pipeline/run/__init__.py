"""A run on this machine: from the user's photos to a pushed model or a refusal."""
