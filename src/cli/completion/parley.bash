# Completes commands of parley in bash. parley itself says what may stand at the cursor.

# Sets REPLY to a word without its quotes and backslashes, and `open` to a quote that is still open.
__parley_plain() {
  local word=$1 character i
  REPLY='' open=''
  for ((i = 0; i < ${#word}; i++)); do
    character=${word:i:1}
    if [[ $character == "$open" ]]; then
      open=''
    elif [[ -z $open && $character == [\'\"] ]]; then
      open=$character
    elif [[ $character == \\ && $open != \' ]]; then
      i=$((i + 1))
      REPLY+=${word:i:1}
    else
      REPLY+=$character
    fi
  done
}

# Sets REPLY to a text as it has to stand in the line, behind the quote $2.
__parley_quoted() {
  case $2 in
    \') REPLY=${1//\'/\'\\\'\'} ;;
    \") REPLY=${1//\\/\\\\} REPLY=${REPLY//\"/\\\"} REPLY=${REPLY//\$/\\\$} REPLY=${REPLY//\`/\\\`} ;;
    *) printf -v REPLY %q "$1" ;;
  esac
}

_parley() {
  local line=${COMP_LINE:0:COMP_POINT} words=() plain=() open='' REPLY='' part i
  # COMP_WORDS is also split at = : and @, so the words are put together again.
  for ((i = 0; i < COMP_CWORD; i++)); do
    part=${COMP_WORDS[i]}
    if [[ i -gt 0 && $line != [[:space:]]* ]]; then
      words[${#words[@]} - 1]+=$part
    else
      words+=("$part")
    fi
    line=${line#*"$part"}
  done
  if [[ $line == [[:space:]]* ]]; then
    words+=("${line#"${line%%[![:space:]]*}"}")
  else
    words[${#words[@]} - 1]+=$line
  fi
  local last=$((${#words[@]} - 1))
  if [[ ${words[last]} == *[\<\>]* || ${words[last - 1]} == *[\<\>] ]]; then return; fi # a file, as everywhere

  for part in "${words[@]}"; do
    __parley_plain "$part"
    plain+=("$REPLY")
  done
  local answer kind value about quote=$open
  answer=$("${1/#\~\//$HOME/}" help completion bash -- "${plain[@]}" 2>/dev/null </dev/null)
  kind=${answer%%$'\n'*}
  [[ $kind == files ]] && return
  compopt +o bashdefault +o default 2>/dev/null # not in bash 3

  if [[ $kind == folders ]]; then
    compopt -o dirnames 2>/dev/null
  elif [[ $kind == command ]]; then
    for ((i = 0; i < COMP_CWORD; i++)); do [[ ${COMP_WORDS[i]} == -- ]] && break; done
    if declare -F _comp_command_offset >/dev/null; then
      _comp_command_offset $((i + 1))
    elif declare -F _command_offset >/dev/null; then
      _command_offset $((i + 1))
    elif ((COMP_CWORD == i + 1)); then
      compopt -o filenames 2>/dev/null
      while read -r value; do COMPREPLY+=("$value"); done < <(compgen -c -- "$2")
    else
      compopt -o bashdefault -o default 2>/dev/null
    fi
  elif [[ $kind == words && $answer == *$'\n'* ]]; then
    # readline replaces $2 only, which is the end of the word. Where it lists candidates, they are shown with what they are for.
    local skip=0 width=0 texts=() abouts=()
    if [[ -z $quote && ${words[last]} == *"$2" ]]; then
      __parley_plain "${words[last]%"$2"}"
      skip=${#REPLY}
    fi
    while IFS=$'\t' read -r value about; do
      __parley_quoted "${value:skip}" "$quote"
      texts+=("$REPLY")
      abouts+=("$about")
      ((${#REPLY} > width)) && width=${#REPLY}
    done <<<"${answer#*$'\n'}"
    for i in "${!texts[@]}"; do
      line=${texts[i]}
      if [[ $COMP_TYPE == 63 || $COMP_TYPE == 33 ]] && [[ ${#texts[@]} -gt 1 && -n ${abouts[i]} ]]; then
        printf -v line "%-${width}s  (%s)" "$line" "${abouts[i]}"
        line=${line:0:${COLUMNS:-80} - 1}
      fi
      COMPREPLY+=("$line")
    done
  fi
}

complete -o bashdefault -o default -F _parley parley
