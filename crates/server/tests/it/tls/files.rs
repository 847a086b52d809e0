//! What is said of files that can not work.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::authority::Authority;
use crate::cli::{folder, intertie};

const REST: &str =
    "[service.shop]\nendpoints = [{ at = \"127.0.0.1:7001\" }]\n[route.\"/**\"]\nto = \"shop\"\n";
const SHOP: &str = "[certificate.shop]\nchain = \"shop.crt\"\nkey = \"shop.key\"\n";

/// `check` of a file with `tls`, among the files that `prepare` changes: its exit code and what it says.
fn check(tls: &str, prepare: impl FnOnce(&Path, &Authority)) -> (i32, String) {
    let folder = folder(format!("{tls}{REST}"));
    let authority = Authority::new("roots");
    authority.write_into(folder.path());
    authority.issue(folder.path(), "shop", &["shop.example", "*.shop.example"]);
    authority.issue(folder.path(), "other", &["other.example"]);
    prepare(folder.path(), &authority);
    let run = intertie(folder.path(), &["check", "intertie.toml"]);
    (run.code, run.stderr)
}

fn refused(tls: &str, prepare: impl FnOnce(&Path, &Authority), words: &str, place: &str) {
    let (code, said) = check(tls, prepare);
    assert_eq!(code, 2, "{tls}{said}");
    assert!(said.starts_with(&format!("error: {words}")), "`{words}` is not how it begins:\n{said}");
    assert!(said.contains(&format!("intertie.toml:{place}\n")), "not at {place}:\n{said}");
    let begins = |severity: &str| said.lines().filter(|line| line.starts_with(severity)).count();
    assert_eq!((begins("error: "), begins("warning: ")), (1, 0), "one error and nothing else:\n{said}");
}

fn write(name: &'static str, text: impl AsRef<[u8]>) -> impl FnOnce(&Path, &Authority) {
    move |folder, _| std::fs::write(folder.join(name), text).expect("written")
}

#[test]
fn a_good_file_is_good() {
    let (code, said) = check(&format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{SHOP}"), |_, _| {});
    assert_eq!((code, said.as_str()), (0, ""));
}

#[test]
fn each_wrong_file_has_its_error() {
    let tls = format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{SHOP}");
    let remove =
        |folder: &Path, _: &Authority| std::fs::remove_file(folder.join("shop.crt")).expect("removed");
    refused(&tls, remove, "there is no file `shop.crt`", "4:1");
    refused(&tls, write("shop.crt", ""), "`shop.crt` holds no certificate in PEM", "4:1");
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    refused(&tls, write("shop.crt", cut), "`shop.crt` is no proper PEM file", "4:1");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    refused(&tls, write("shop.crt", garbage), "the first certificate in `shop.crt` can not be read", "4:1");
    refused(
        &tls,
        write("shop.crt", vec![b'x'; (1 << 20) + 1]),
        "`shop.crt` is longer than 1048576 bytes",
        "4:1",
    );
    refused(&tls, write("shop.key", "no key"), "`shop.key` holds no private key in PEM", "5:1");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(&tls, write("shop.key", encrypted), "the key in `shop.key` is encrypted", "5:1");
    let encrypted =
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    refused(&tls, write("shop.key", encrypted), "the key in `shop.key` is encrypted", "5:1");
    let other = |folder: &Path, _: &Authority| {
        std::fs::copy(folder.join("other.key"), folder.join("shop.key")).expect("copied");
    };
    refused(&tls, other, "the key is not that of the first certificate in `shop.crt`", "5:1");
    let directory = |folder: &Path, _: &Authority| {
        std::fs::remove_file(folder.join("shop.key")).expect("removed");
        std::fs::create_dir(folder.join("shop.key")).expect("made");
    };
    refused(&tls, directory, "`shop.key` is no regular file", "5:1");
}

/// Root may read what it may not open to others, but not what is not there.
#[test]
fn what_can_not_be_read_is_said_of_the_file() {
    let tls = format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{SHOP}");
    let linked = |to: &'static str| {
        move |folder: &Path, _: &Authority| {
            std::fs::remove_file(folder.join("shop.crt")).expect("removed");
            symlink(to, folder.join("shop.crt")).expect("made");
        }
    };
    refused(&tls, linked("nowhere.crt"), "there is no file `shop.crt`", "4:1");
    refused(&tls, linked("shop.crt"), "`shop.crt` can not be read: ", "4:1");
    refused(&tls, linked("other.crt/shop.crt"), "`shop.crt` can not be read: ", "4:1");
    refused(&tls, linked("."), "`shop.crt` is no regular file", "4:1");
    refused(&tls, linked("/dev/zero"), "`shop.crt` is no regular file", "4:1");
}

/// Writes the certificate `shop`, good from the one year to the other.
fn timed(from: i32, to: i32) -> impl FnOnce(&Path, &Authority) {
    move |folder, authority| {
        let issued = authority.sign(|parameters| {
            parameters.subject_alt_names =
                vec![rcgen::SanType::DnsName("shop.example".try_into().expect("ASCII"))];
            parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
        });
        issued.write(folder, "shop");
    }
}

#[test]
fn a_certificate_that_has_expired_is_an_error_and_one_that_is_early_a_warning() {
    let tls = format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{SHOP}");
    let named = "the certificate `shop` in `shop.crt`";
    let expired = format!("{named} expired at 2020-01-01T00:00:00.000Z: clients would refuse it");
    refused(&tls, timed(2019, 2020), &expired, "4:1");
    let (code, said) = check(&tls, timed(2400, 2401));
    assert_eq!(code, 1, "{said}");
    let early =
        format!("warning: {named} is not valid before 2400-01-01T00:00:00.000Z: clients will refuse it");
    assert!(said.starts_with(&early), "{said}");
    // The server itself says the same, and does not start.
    let folder = folder(format!("{tls}{REST}"));
    timed(2019, 2020)(folder.path(), &Authority::new("roots"));
    let run = intertie(folder.path(), &["up", "intertie.toml"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.starts_with(&format!("error: {expired}")), "{}", run.stderr);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
}

/// What is said of a list that was to be replaced long ago.
#[test]
fn a_revocation_list_out_of_date_is_a_warning() {
    for (keys, so) in [
        ("", "the clients of its authority are refused"),
        ("expired_crls = \"accept\"\n", "what was revoked since then is not known"),
    ] {
        let tls = format!(
            "[tls]\nlisten = [\"127.0.0.1:8443\"]\n{CLIENTS}client_crls = [\"roots.crl\"]\n{keys}{SHOP}"
        );
        let (code, said) = check(&tls, |folder, authority| authority.revoke(folder, "roots.crl", &[], 2020));
        assert_eq!(code, 1, "{said}");
        let words =
            "warning: the revocation list in `roots.crl` is out of date since 2020-01-01T00:00:00.000Z";
        assert!(said.starts_with(&format!("{words}: {so}")), "{said}");
    }
}

const CLIENTS: &str = "client_certificates = \"required\"\nclient_roots = \"roots.crt\"\n";

#[test]
fn each_wrong_setting_has_its_error() {
    let shop = |keys: &str| format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{keys}\n{SHOP}");
    for (tls, words, place) in [
        (shop("handshake_timeout = \"0s\""), "0s is not above 0s and at most 30s", "3:1"),
        (shop("handshake_timeout = \"31s\""), "31s is not above 0s and at most 30s", "3:1"),
        (shop("redirect_port = 0\nredirect = [\"127.0.0.1:8081\"]"), "0 is no port", "3:1"),
        (shop("redirect_port = 443"), "nothing is redirected", "3:1"),
        (shop("redirect = [\"127.0.0.1:8443\"]"), "`127.0.0.1:8443` is used twice", "3:1"),
        (shop("redirect = [\"127.0.0.1:8080\"]"), "`127.0.0.1:8080` is used twice", "3:1"),
        (shop("default_certificate = \"shops\""), "there is no certificate `shops`", "3:1"),
        (shop("client_certificates = \"required\""), "clients' certificates are verified against", "3:1"),
        (shop("client_roots = \"roots.crt\""), "no client is asked for a certificate", "3:1"),
        (shop("client_crls = [\"roots.crl\"]"), "no client is asked for a certificate", "3:1"),
        (shop("expired_crls = \"accept\""), "`client_crls` names no list that could be out of date", "3:1"),
        (shop("expired_crls = \"ignore\""), "unknown value `ignore`", "3:16"),
        (shop(&format!("{CLIENTS}client_crls = [\"missing.crl\"]")), "there is no file `missing.crl`", "5:1"),
        (
            shop(&format!("{CLIENTS}client_crls = [\"roots.crt\"]")),
            "`roots.crt` holds no revocation list in PEM",
            "5:1",
        ),
        (shop("minimum_version = \"1.1\""), "unknown value `1.1`", "3:19"),
        (
            shop("client_certificates = \"optional\"\nclient_roots = \"shop.key\""),
            "`shop.key` holds no certificate in PEM",
            "4:1",
        ),
        ("[tls]\nlisten = [\"127.0.0.1:8443\"]\n".to_owned(), "TLS needs a certificate", "2:1"),
        (format!("[tls]\nminimum_version = \"1.3\"\n{SHOP}"), "[tls] needs an address to listen on", "1:2"),
        (SHOP.to_owned(), "nobody is shown a certificate: no address listens with TLS", "1:14"),
        (shop("") + "names = [\"a b\"]\n", "`a b` is no name such as", "7:1"),
        (
            shop("") + "names = [\"shop.test\"]\n",
            "the certificate in `shop.crt` is not for `shop.test`",
            "7:1",
        ),
        (
            shop("") + "[certificate.again]\nchain = \"shop.crt\"\nkey = \"shop.key\"\n",
            "`shop.example` is in the certificates `again` and `shop`",
            "4:14",
        ),
    ] {
        // There, so that its absence is not the second thing that is wrong.
        let list = |folder: &Path, authority: &Authority| authority.revoke(folder, "roots.crl", &[], 2400);
        refused(&tls, list, words, place);
    }
}

#[test]
fn names_decide_between_two_certificates_for_one() {
    let again = "names = [\"*.shop.example\"]\n[certificate.again]\nchain = \"shop.crt\"\nkey = \"shop.key\"\nnames = [\"shop.example\"]\n";
    let (code, said) = check(&format!("[tls]\nlisten = [\"127.0.0.1:8443\"]\n{SHOP}{again}"), |_, _| {});
    assert_eq!((code, said.as_str()), (0, ""));
}

#[test]
fn explain_tells_what_holds_and_why() {
    let tls = "[tls]\nlisten = [\"127.0.0.1:8443\"]\nminimum_version = \"1.3\"\n";
    let folder = folder(format!("{tls}{SHOP}{}{REST}", SHOP.replace("shop", "other")));
    let authority = Authority::new("roots");
    authority.issue(folder.path(), "shop", &["*.shop.example"]);
    authority.issue(folder.path(), "other", &["other.example"]);
    let explained = |url| intertie(folder.path(), &["explain", "intertie.toml", "GET", url]).stdout;
    let shown = explained("https://www.shop.example/");
    for line in [
        "certificate         shop  (intertie.toml:4)",
        "listen              127.0.0.1:8443  (intertie.toml:2)",
        "redirect            none  (built-in default)",
        "redirect_port       8443  (built-in default)",
        "default_certificate none  (built-in default)",
        "minimum_version     1.3  (intertie.toml:3)",
        "handshake_timeout   10s  (built-in default)",
        "client_certificates off  (built-in default)",
        "client_roots        none  (built-in default)",
        "client_crls         none  (built-in default)",
        "expired_crls        refuse  (built-in default)",
    ] {
        assert!(shown.contains(&format!("  {line}\n")), "`{line}` is not in\n{shown}");
    }
    let refused = explained("https://shop.example/");
    assert!(refused.contains("  certificate         none: the handshake is refused  ("), "{refused}");
    assert!(!explained("http://www.shop.example/").contains("TLS"));
}
