"""Google Cloud's services: clients, errors, Dataflow jobs, training jobs."""
