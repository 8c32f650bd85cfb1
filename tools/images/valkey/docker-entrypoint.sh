#!/bin/sh
# Options or a configuration file alone start the server; root hands over to the user valkey.
set -e
case "${1:-}" in
  -* | *.conf) set -- valkey-server "$@" ;;
esac
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
  chown -R valkey:valkey /data
  exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$@"
fi
exec "$@"
