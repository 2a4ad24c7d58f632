//! The scripts of `hack/`, where an answer of theirs hung on how quick another process was.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

#[test]
fn a_library_is_found_however_much_is_listed_behind_it() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scripts");
    fs::create_dir_all(&directory).unwrap();
    let ldconfig = directory.join("ldconfig");
    // A reader that stops at the first match leaves the writer of a megabyte to a broken pipe, which `pipefail` takes for a no.
    fs::write(&ldconfig, "#!/bin/sh\necho '\tlibgssapi_krb5.so.2 => /lib/libgssapi_krb5.so.2'\nyes libother.so | dd bs=1024 count=1024 iflag=fullblock\n").unwrap();
    fs::set_permissions(&ldconfig, fs::Permissions::from_mode(0o755)).unwrap();
    let check = Command::new("bash")
        .args(["-c", "set -euo pipefail; . hack/lib.sh; PATH=$0:$PATH ldconfig_has libgssapi_krb5.so.2"])
        .arg(directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
