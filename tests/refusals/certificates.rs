//! Certificates that prove nothing, or something else.

use std::fs;
use std::time::{Duration, SystemTime};

use homeward::lab::service::HOME_AGENT_ID;
use homeward::lab::{Auth, Configurations};
use homeward::real_kernel_test;
use pki::{Authority, Identity, Validity};

use crate::ike_requests::kept_out;
use crate::{FIRST, Ground, PATIENCE, ROGUE, SECOND, start, terminate};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The authority of the lab.
fn lab_authority(files: &Configurations) -> Authority {
    let read = |name| fs::read_to_string(files.folder().join(name)).unwrap();
    Authority::from_pem(&read("ca.pem"), &read("ca.key")).unwrap()
}

/// Writes a certificate and its key as `name.pem` and `name.key`.
fn issue(files: &Configurations, authority: &Authority, name: &str, id: &str, validity: Validity) {
    let issued = authority.issue(&Identity::Fqdn(id.to_owned()), validity).unwrap();
    files.write(&format!("{name}.pem"), &issued.certificate_pem).unwrap();
    files.write(&format!("{name}.key"), &issued.key_pem).unwrap();
}

real_kernel_test!(who_has_no_good_certificate_stays_out, {
    let ground = Ground::new(Auth::Certificate);
    let files = &ground.files;
    let now = SystemTime::now();
    let good = Validity { not_before: now - DAY / 2, not_after: now + DAY / 2 };
    let expired = Validity { not_before: now - DAY / 2, not_after: now - DAY / 24 };
    let not_yet = Validity { not_before: now + DAY / 24, not_after: now + DAY / 2 };
    let made = Authority::create("Somebody else", good).unwrap();
    files.write("other-ca.pem", &made.certificate_pem).unwrap();
    let other = Authority::from_pem(&made.certificate_pem, &made.key_pem).unwrap();
    let lab = lab_authority(files);
    for (name, authority, id, validity) in [
        ("unknown-ca", &other, ROGUE, good),
        ("expired", &lab, ROGUE, expired),
        ("not-yet", &lab, ROGUE, not_yet),
        ("elses-name", &lab, SECOND, good),
    ] {
        issue(files, authority, name, id, validity);
        let certificate = format!("certificate = \"{name}.pem\"\nkey = \"{name}.key\"");
        let own = format!("certificate = \"{ROGUE}.pem\"\nkey = \"{ROGUE}.key\"");
        ground.variant(&format!("{name}.toml"), &format!("{ROGUE}.toml"), &[(&own, &certificate)]);
    }
    let told = "the peer answers AUTHENTICATION_FAILED";
    kept_out(&ground, "unknown-ca.toml", "the authority `CN=Somebody else`, on which the certificate of", told);
    kept_out(&ground, "expired.toml", "the certificate of `CN=rogue.example.org` expired at ", told);
    kept_out(&ground, "not-yet.toml", "the certificate of `CN=rogue.example.org` is valid only from ", told);
    kept_out(
        &ground,
        "elses-name.toml",
        "says that it is `rogue.example.org`, but its certificate is for `second.example.org`",
        told,
    );

    // A good certificate, but another one's name: whoever is bound as that one stays so.
    let named = [
        (&format!("state-{ROGUE}")[..], "state-impostor"),
        (&format!("id = \"{ROGUE}\""), &format!("id = \"{SECOND}\"")),
    ];
    ground.variant("impostor.toml", &format!("{ROGUE}.toml"), &named);
    let why = "says that it is `second.example.org`, but its certificate is for `rogue.example.org`";
    kept_out(&ground, "impostor.toml", why, told);

    // From the mobile node's side: it does not give itself to a home agent that cannot prove who it is.
    let rogue = format!("{ROGUE}.toml");
    ground.variant("trusts-others.toml", &rogue, &[("authorities = [\"ca.pem\"]", "authorities = [\"other-ca.pem\"]")]);
    kept_out(
        &ground,
        "trusts-others.toml",
        "",
        "responder: the authority `CN=Homeward lab`, on which the certificate of `CN=ha.example.org` rests",
    );
    ground.variant("wants-another.toml", &rogue, &[(HOME_AGENT_ID, "other.example.org")]);
    kept_out(&ground, "wants-another.toml", "", "the responder is fqdn:ha.example.org, not fqdn:other.example.org");

    // The home agent starts again with a certificate that has run out: the honest stay away.
    let mut ground = ground;
    terminate(&mut ground.second);
    issue(&ground.files, &lab, HOME_AGENT_ID, HOME_AGENT_ID, expired);
    terminate(&mut ground.honest.ha);
    let mark = ground.honest.mn.mark();
    ground.honest.ha = start(&ground.files, &ground.scene.ha, "ha.toml");
    let event = ground.refused(
        &ground.honest.mn,
        mark,
        "ike_closed",
        "responder: the certificate of `CN=ha.example.org` expired at ",
    );
    println!("{:?}", event.fields);
    terminate(&mut ground.honest.ha);
    // With a good one they come back.
    issue(&ground.files, &lab, HOME_AGENT_ID, HOME_AGENT_ID, good);
    ground.honest.ha = start(&ground.files, &ground.scene.ha, "ha.toml");
    ground.honest.mn.wait_after(mark, "bound", PATIENCE).unwrap();
    ground.honest.reaches_correspondent(&ground.scene).unwrap();
    assert!(ground.honest.mn.all("bound").len() >= 2, "{FIRST}");
    ground.honest.stop().unwrap();
});
