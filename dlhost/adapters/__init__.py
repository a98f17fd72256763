"""The only modules that touch the outside: Ansible, OpenSSH, the vault, the container engine, the user's files."""
