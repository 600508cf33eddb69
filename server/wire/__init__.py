"""All that knows gRPC and belongs to no module: policies, checks, errors, streams, drain."""
