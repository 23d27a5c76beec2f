"""Scripts that write the documents."""
