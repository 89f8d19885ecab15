"""One module a dialect: requests in, engine or session called, replies out."""
