#!/usr/bin/env bash
# Makes a CA of your own, and certificates for server, workers and clients. For a first try, tests and small sites; a
# company's own CA, or cert-manager, signs the same names.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/certs.sh DIR ca
       deploy/certs.sh DIR server NAME...          the names and addresses that clients dial
       deploy/certs.sh DIR worker ID               ID as in mantissa-worker --worker-id
       deploy/certs.sh DIR workers POOL            for all whose ids begin with POOL-, as pods' do
       deploy/certs.sh DIR client TENANT ROLE      ROLE: reader, user or admin

Writes DIR/ca.pem, DIR/server.pem, DIR/worker-ID.pem, DIR/client-TENANT-ROLE.pem, each with its key beside it in
NAME-key.pem. The CA is made where it is not there. A certificate that is there is replaced, whole, so that a running
server or worker takes up the new one; its key stays. MANTISSA_CERT_DAYS: how long it is valid (365).
Keep DIR/ca-key.pem off the machines that serve: whoever has it can be anybody.
END
}

fail() {
  echo "certs: $1" >&2
  exit 2
}

if [[ $# -lt 2 || $1 == -h || $1 == --help ]]; then
  usage
  [[ $# -gt 0 && ($1 == -h || $1 == --help) ]] && exit 0
  exit 2
fi
command -v openssl > /dev/null || fail "openssl is missing; apt-get install openssl"
dir=$1 kind=$2
shift 2
days=${MANTISSA_CERT_DAYS:-365}
umask 077
mkdir -p "$dir"
work=$(mktemp -d "$dir/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT

# $1: the file's name without -key.pem. A key is made once.
make_key() {
  [[ -s $dir/$1-key.pem ]] && return
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key.pem" 2> "$work/log" ||
    fail "openssl: $(tail -1 "$work/log")"
  mv "$work/key.pem" "$dir/$1-key.pem"
}

make_ca() {
  [[ -s $dir/ca.pem ]] && return
  make_key ca
  openssl req -x509 -new -key "$dir/ca-key.pem" -sha256 -days $((days * 10)) -subj "/CN=Mantissa CA" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -out "$work/ca.pem" 2> "$work/log" || fail "openssl: $(tail -1 "$work/log")"
  chmod 644 "$work/ca.pem"
  mv "$work/ca.pem" "$dir/ca.pem"
}

# sign NAME COMMON_NAME SUBJECT_ALTERNATIVE_NAMES USAGE
sign() {
  make_ca
  make_key "$1"
  cat > "$work/extensions" << END
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=$4
subjectAltName=$3
END
  {
    openssl req -new -key "$dir/$1-key.pem" -subj "/CN=$2" -out "$work/request.pem" &&
      openssl x509 -req -in "$work/request.pem" -CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem" -sha256 -days "$days" \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$work/extensions" -out "$work/certificate.pem"
  } 2> "$work/log" || fail "openssl: $(tail -1 "$work/log")"
  chmod 644 "$work/certificate.pem"
  mv "$work/certificate.pem" "$dir/$1.pem"
  echo "$dir/$1.pem, $dir/$1-key.pem"
}

is_name() { [[ $1 =~ ^[a-z0-9-]{1,63}$ ]]; }

case $kind in
  ca)
    make_ca
    echo "$dir/ca.pem"
    ;;
  server)
    [[ $# -gt 0 ]] || fail "server: name at least one host name or address that clients dial"
    names=""
    for name in "$@"; do
      if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
    done
    sign server "$1" "${names#,}" serverAuth
    ;;
  worker)
    { [[ $# -eq 1 ]] && is_name "$1"; } || fail "worker: give one id, 1 to 63 of a-z, 0-9 and -"
    sign "worker-$1" "$1" "URI:spiffe://mantissa/worker/$1" clientAuth
    ;;
  workers)
    { [[ $# -eq 1 ]] && is_name "$1"; } || fail "workers: give what their ids begin with, 1 to 63 of a-z, 0-9 and -"
    sign "workers-$1" "$1" "URI:spiffe://mantissa/workers/$1" clientAuth
    ;;
  client)
    { [[ $# -eq 2 ]] && is_name "$1"; } || fail "client: give a tenant, 1 to 63 of a-z, 0-9 and -, and a role"
    [[ $2 == reader || $2 == user || $2 == admin ]] || fail "client: '$2' is no role; reader, user or admin"
    sign "client-$1-$2" "$1 $2" "URI:spiffe://mantissa/tenant/$1/$2" clientAuth
    ;;
  *) fail "'$kind' is none of ca, server, worker, workers and client" ;;
esac
