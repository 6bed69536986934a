"""The image and docker-compose.yml on a container engine of their own. Root and Debian; `make test-container`."""
