"""The service on the edge: it takes statements, promises, forwards and delivers, and opens nothing that is sealed."""
