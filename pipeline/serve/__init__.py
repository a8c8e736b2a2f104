"""A server for development: TensorFlow Serving's, AI Platform's and Vertex AI's REST, one model."""
