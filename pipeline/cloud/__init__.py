"""The pipeline on Google Cloud: settings, checks, cost, the compiled spec, runs and status."""
