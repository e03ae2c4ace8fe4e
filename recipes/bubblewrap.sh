#!/bin/sh
# Install bubblewrap, the namespaces of the sandbox in which programs are judged, if this user may. Never fails: without
# it programs are held by Landlock and seccomp alone, and `gradatim doctor` says so.
say() { echo "bubblewrap is not installed: $1. By hand: $2" >&2; exit 0; }
if [ "$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2> /dev/null; then sudo="sudo -n"; else sudo=no; fi
for tool in apt-get dnf apk pacman zypper; do
  command -v "$tool" > /dev/null || continue
  case $tool in
    apt-get) install="apt-get install -y -qq --no-install-recommends bubblewrap" ;;
    dnf) install="dnf install -y -q bubblewrap" ;;
    apk) install="apk add -q bubblewrap" ;;
    pacman) install="pacman -S --noconfirm --quiet bubblewrap" ;;
    zypper) install="zypper -n -q install bubblewrap" ;;
  esac
  [ "$sudo" = no ] && say "it takes root" "sudo $install"
  [ "$tool" = apt-get ] && $sudo apt-get update -qq > /dev/null 2>&1
  $sudo env DEBIAN_FRONTEND=noninteractive $install > /dev/null 2>&1 || say "$tool did not find it" "$install"
  exit 0
done
say "there is no package manager that is known" "https://github.com/containers/bubblewrap"
