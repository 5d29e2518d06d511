# bash completion for remus(1)

_remus_names() {  # $1: path of the API's document, $2: key of the list
  command -v jq >/dev/null || return
  case $1 in
    guests) remus ${_remus_socket:+--socket "$_remus_socket"} status --json 2>/dev/null | jq -r '.guests[].name' ;;
    hosts) remus ${_remus_socket:+--socket "$_remus_socket"} host show --json 2>/dev/null | jq -r '.peers[].name' ;;
  esac
}

_remus() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' sub='' i
  local _remus_socket=''
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --socket) _remus_socket=${COMP_WORDS[++i]} ;;
      -*) ;;
      *) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; elif [[ -z $sub ]]; then sub=${COMP_WORDS[i]}; fi ;;
    esac
  done
  local tuning='--interval --max-latency --max-overhead --alone-after --detect-min --detect-max --bandwidth
    --copy-rate --compression --delta-cache --output-buffer --arbiter --bridge --disk'

  case $prev in
    --socket | --qmp | --config) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --to) COMPREPLY=($(compgen -W "$(_remus_names hosts)" -- "$cur")); return ;;
    --compression) COMPREPLY=($(compgen -W 'auto none lz4 zstd' -- "$cur")); return ;;
    --arbiter) COMPREPLY=($(compgen -W 'fail-stop manual' -- "$cur")); return ;;
    --interval | --max-latency | --max-overhead | --alone-after | --detect-min | --detect-max | --bandwidth | \
      --copy-rate | --delta-cache | --output-buffer | --bridge | --disk | --days | --rounds) return ;;
  esac

  local words=''
  case $command in
    '') words='host cert protect unprotect set status top events failover verify doctor --socket --json --help --version' ;;
    host)
      case $sub in
        '') words='show list add remove' ;;
        remove) words=$(_remus_names hosts) ;;
      esac ;;
    cert)
      case $sub in
        '') words='init issue show' ;;
        init) words='--cluster' ;;
        issue) words='--dns --address --days' ;;
      esac
      [[ -n $sub && $cur != -* ]] && { COMPREPLY=($(compgen -f -- "$cur")); return; } ;;
    protect) words="--to --qmp --wait --no-wait --dry-run $tuning" ;;
    set) words="$tuning"; [[ -z $sub && $cur != -* ]] && words=$(_remus_names guests) ;;
    unprotect) words="--force $(_remus_names guests)" ;;
    failover) words="--force --yes $(_remus_names guests)" ;;
    status) words="--watch --json $(_remus_names guests)" ;;
    verify) words="--disks --max-pause --json $(_remus_names guests)" ;;
    events) words="--follow --json $(_remus_names guests)" ;;
    top) words='--interval --rounds --json' ;;
    doctor) words='--config --json' ;;
  esac
  COMPREPLY=($(compgen -W "$words --help" -- "$cur"))
}
complete -F _remus remus
