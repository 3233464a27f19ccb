#!/bin/sh
# Runs once before everything else: gives the volumes to those who write them, and makes a webhook secret where there is
# none, so that the first start needs no file. A secret that stands there is left alone, unless one is set outside.
set -eu
umask 077
chown 10001:10001 /volumes/*
if [ -n "${VOICEMESH_VAPI_SECRET:-}" ]; then
    printf '%s\n' "$VOICEMESH_VAPI_SECRET" >/run/secrets/vapi_secret
    chown 10001:10001 /run/secrets/vapi_secret
elif [ ! -s /run/secrets/vapi_secret ]; then
    python -c 'import secrets; print(secrets.token_urlsafe(32))' >/run/secrets/vapi_secret
    chown 10001:10001 /run/secrets/vapi_secret
    echo "made a webhook secret: show it with  docker compose exec ingress-svc cat /run/secrets/vapi_secret"
fi
