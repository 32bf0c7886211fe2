"""One file a library, each readable as an example of how to do the job with it."""
