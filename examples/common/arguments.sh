# Sourced by a recipe's train.sh: sets DATA and MODEL, leaves the options for fairseq-train in "$@",
# and prints the script's head for --help.

case "${1:-}" in -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit ;; esac
[ $# -ge 2 ] || { echo "error: give DATA and MODEL; --help says what they are" >&2; exit 2; }
HERE="$(cd "$(dirname "$0")" && pwd)"
PLUGIN="$HERE/../../resdual_fairseq"
DATA="$1" MODEL="$2"
shift 2
[ -e "$DATA/manifest.json" ] || {
    echo "error: $DATA holds no manifest.json; prepare it with $HERE/prepare.py --out $DATA" >&2
    exit 1
}
