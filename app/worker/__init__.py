"""The process that consumes: Faust and aiokafka, assignment, health. Only `app.cli` starts it."""
