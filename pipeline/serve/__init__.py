"""A development server for one model.

It speaks the REST APIs of TensorFlow Serving, AI Platform and Vertex AI.
"""
