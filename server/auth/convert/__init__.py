"""Between the messages of the API and what the use cases speak, a file a noun."""
