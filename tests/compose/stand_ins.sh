#!/bin/sh
# Makes what the tests of the compose stack need and cannot pull where no image registry can be reached: base images under
# exactly the names that Dockerfile and compose.yaml ask for, out of Debian's packages and the Go module proxy. An image
# that is there already, or that can be pulled, is left alone. Usage: stand_ins.sh [pull] [python] [nginx] [jaeger] [compose]
# With `pull` nothing is made: it fails where an image is missing.
#
# Where the packages come from is the machine's own business: its apt sources, pip settings, certificates and Go proxy are
# used as they are, and go into the stand-in images only, so that Dockerfile and compose.yaml stay what anybody needs.
# Debian's nginx, valkey and Jaeger from source are not the images of those projects: their versions are near, their
# layers are not. Needs root and debootstrap; jaeger and compose need go.
set -eu
cd "$(dirname "$0")/../.."
rooms=${STAND_INS_DIR:-$PWD/.compose}
mkdir -p "$rooms"

image_of() { # image_of VARIABLE: what compose.yaml names, after .env and the shell
    named=$(printenv "$1" || true)
    [ -n "$named" ] || named=$(sed -n "s/.*\${$1:-\([^}]*\)}.*/\1/p" compose.yaml | head -n 1)
    echo "$named"
}

there() {
    docker image inspect "$1" >/dev/null 2>&1 && { echo "$1 is there"; return 0; }
    timeout 60 docker pull --quiet "$1" >/dev/null 2>&1 && { echo "$1 was pulled"; return 0; }
    [ "$make" ] || { echo "$1 can only be made here" >&2; exit 1; }
    return 1
}

mirror() { # the first of the machine's own sources that is Debian's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
        grep -v security | head -n 1
}

grow() { # grow DIRECTORY SUITE PACKAGES: a small Debian, with the machine's certificates and pip settings
    [ -e "$1/.grown" ] && return
    rm -rf "$1"
    script=/usr/share/debootstrap/scripts/$2
    [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase --include="ca-certificates,$3" "$2" "$1" "$(mirror)" "$script" >"$1.log" 2>&1 ||
        { tail -n 5 "$1.log" >&2; exit 1; }
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/usr/share/doc "$1"/usr/share/man \
        "$1"/usr/share/locale "$1"/usr/share/info
    bundle=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    [ ! -e "$bundle" ] || cp "$bundle" "$1/etc/ssl/certs/ca-certificates.crt"
    {
        echo "[global]"
        echo "cert = /etc/ssl/certs/ca-certificates.crt"
        for key in index-url extra-index-url trusted-host; do
            value=$(python3 -m pip config list 2>/dev/null | sed -n "s/^.*\.$key='\(.*\)'$/\1/p" | tail -n 1)
            [ -z "$value" ] || echo "$key = $value"
        done
    } >"$1/etc/pip.conf"
    touch "$1/.grown"
}

into_image() { # into_image DIRECTORY NAME CHANGES...
    from=$1
    name=$2
    shift 2
    tar -C "$from" --exclude=./.grown -c . | docker import "$@" - "$name" >/dev/null
    echo "$name is a stand-in"
}

build_go() { # build_go PACKAGE VERSION RESULT: also where `go install` refuses a module's own replacements
    [ -x "$3" ] && return
    room=$(mktemp -d)
    (cd "$room" && go mod init stand-in && go get "$1@$2" && CGO_ENABLED=0 go build -ldflags "-s -w" -o "$3" "$1") \
        >"$3.log" 2>&1 || { tail -n 5 "$3.log" >&2; exit 1; }
    rm -rf "$room"
}

make_python() {
    name=$(image_of VOICEMESH_PYTHON_IMAGE)
    there "$name" && return
    grow "$rooms/python" "${name##*-}" python3,python3-venv
    ln -sf python3 "$rooms/python/usr/bin/python"
    into_image "$rooms/python" "$name" --change 'CMD ["python3"]'
}

grow_server() {
    grow "$rooms/server" testing nginx,valkey-server,wget
}

make_nginx() {
    name=$(image_of VOICEMESH_NGINX_IMAGE)
    there "$name" && return
    grow_server
    into_image "$rooms/server" "$name" --change 'CMD ["nginx", "-g", "daemon off;"]'
}

make_jaeger() {
    name=$(image_of VOICEMESH_JAEGER_IMAGE)
    there "$name" && return
    # Jaeger is released under two numbers, 2.N and 1.(N + 63); Go knows the second. Its UI is not among the Go sources.
    minor=$(echo "${name##*:}" | cut -d. -f2)
    build_go github.com/jaegertracing/jaeger/cmd/jaeger "v1.$((minor + 63)).0" "$rooms/jaeger.bin"
    grow_server
    mkdir -p "$rooms/server/cmd/jaeger"
    cp "$rooms/jaeger.bin" "$rooms/server/cmd/jaeger/jaeger"
    into_image "$rooms/server" "$name" --change 'ENTRYPOINT ["/cmd/jaeger/jaeger"]'
    rm -rf "$rooms/server/cmd"
}

make_compose() {
    docker compose version >/dev/null 2>&1 && { echo "docker compose is there"; return; }
    build_go github.com/docker/compose/v2/cmd v2.40.3 "$rooms/docker-compose"
    echo "$rooms/docker-compose is built"
}

make=yes
for what in "${@:-python}"; do
    case $what in
    pull) make="" ;;
    python | nginx | jaeger | compose) "make_$what" ;;
    *) echo "there is no $what; see the top of $0" >&2; exit 2 ;;
    esac
done
