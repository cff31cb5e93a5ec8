#!/usr/bin/env bash
# One side of a meeting of Punchline with itself, as `netsim matrix --driver wire` starts it: see netsim/docs/matrix.md.
# Arguments: which side we are, our name, the other's, the link to join with, the server's address as it is reached from
# here, and how many seconds to wait for a direct path. The current folder is the one that both sides share.
set -euo pipefail
# A message is there in a moment, by the relay if need be; who will be direct is so in a second, or in a few where ports have to be
# guessed. An attempt takes at most sixteen, and misses once in fifty: only after a second one do we know that a path was relayed for good.
side=$1 me=$2 peer=$3 join=$4 server=$5 patience=$6
# It is about what lies between two networks, and the packets that it takes.
export PUNCHLINE_NO_LAN=1

# The link names one of the server's addresses, and we may speak the other version of IP.
case $server in *:*) server="[$server]" ;; esac
join=$(sed -E "s,//(\[[^]]*\]|[^:/]*):,//$server:," <<<"$join")

punchline join "$join" --name "$me" --data "$me" >&2
# Whole before it is there.
punchline id --data "$me" --json | sed -n 's/.*"link":"\([^"]*\)".*/\1/p' >"$me.part"
mv "$me.part" "$me.link"
until [ -e "$peer.link" ]; do sleep 0.02; done
punchline add "$(<"$peer.link")" --name "$peer" --data "$me" >&2

mkfifo "$me.types"
exec 3<>"$me.types"

# The one who is asked is online before, if that can be.
if [ "$side" = a ]; then
  for _ in {1..150}; do
    [ ! -e "$peer.registered" ] || break
    sleep 0.02
  done
  # And knows its own router, if UDP passes there.
  for _ in {1..100}; do
    [ ! -e "$peer.profile" ] || break
    sleep 0.02
  done
  echo '{"event":"asked"}'
fi

exec 4< <(exec punchline chat "$peer" --data "$me" --json --wait 1 <"$me.types" 3>&-)
chat=$!
echo "hello from $me" >&3

heard='' read='' closed='' part='' give_up=$((SECONDS + patience))
while :; do
  if IFS= read -r -t 0.2 -u 4 line; then
    line=$part$line part=''
    case $line in
      *'"event":"path"'*'"kind":"direct"'*) printf '%s\n' "$line"; : >"$me.direct" ;;
      *'"event":"path"'* | *'"event":"punched"'* | *'"event":"no_path"'*) printf '%s\n' "$line" ;;
      *'"event":"message","dir":"in"'*) printf '%s\n' "$line"; heard=yes ;;
      *'"event":"receipt"'*) read=yes ;;
      *'"event":"registered"'*) : >"$me.registered" ;;
      *'"event":"profile"'*) : >"$me.profile" ;;
      *) printf '%s\n' "$line" >&2 ;;
    esac
  elif [ $? -le 128 ]; then
    break # The chat has ended; more than 128 is a moment without a line.
  else
    part+=$line # Or with a part of one.
  fi
  # Whoever leaves first takes the path along, so both must have seen it.
  met=''
  [ "$heard$read" = yesyes ] && [ -e "$me.direct" ] && [ -e "$peer.direct" ] && met=yes
  if [ -z "$closed" ] && { [ -n "$met" ] || [ "$SECONDS" -ge "$give_up" ]; }; then
    closed=yes
    exec 3>&-
  fi
done
wait "$chat"
[ "$heard" = yes ]
