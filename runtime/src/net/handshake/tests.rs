use super::*;
use crate::random::SystemRandom;

fn identity(job: u64, worker: &str) -> Identity {
    Identity { job, generation: 4, term: 2, worker: worker.into(), incarnation: 99 }
}

fn pair() -> (Connection, Connection) {
    let (one, two) = tokio::io::duplex(1 << 16);
    let [one, two] = [one, two].map(|stream| {
        let (reader, writer) = tokio::io::split(stream);
        Connection { reader: Box::new(reader), writer: Box::new(writer), peer: "memory".into() }
    });
    (one, two)
}

async fn meet(jobs: [u64; 2], secrets: [&str; 2]) -> (Result<Identity, Error>, Result<Identity, Error>) {
    let (mut one, two) = pair();
    let (dialer, listener) = (identity(jobs[0], "w0"), identity(jobs[1], "w1"));
    let secrets = secrets.map(Secret::new);
    let dialing = async {
        let met = dial(&mut one, Purpose::Data, &dialer, &secrets[0], &SystemRandom).await;
        drop(one);
        met
    };
    let listening = async {
        let dialer = listen(two, &listener, &secrets[1], &SystemRandom).await?;
        let identity = dialer.identity.clone();
        dialer.accept().await.map(|_| identity)
    };
    tokio::join!(dialing, listening)
}

#[tokio::test]
async fn sides_of_one_job_meet() {
    let (listener, dialer) = meet([1, 1], ["secret", "secret"]).await;
    assert_eq!((listener.unwrap(), dialer.unwrap()), (identity(1, "w1"), identity(1, "w0")));
}

#[tokio::test]
async fn another_secret_is_noticed_by_the_dialer_and_never_accepted() {
    let (listener, dialer) = meet([1, 1], ["secret", "guess"]).await;
    assert!(matches!(listener, Err(Error::WrongSecret)));
    assert!(dialer.is_err());
}

#[tokio::test]
async fn another_job_is_refused_with_a_reason() {
    let (listener, dialer) = meet([7, 1], ["secret", "secret"]).await;
    let reason = listener.unwrap_err().to_string();
    assert!(reason.contains("belongs to job 0000000000000007, this side to 0000000000000001"), "{reason}");
    assert!(matches!(dialer, Err(Error::WrongJob { ours: 1, theirs: 7 })));
}

#[tokio::test]
async fn another_version_is_told_which_one_is_spoken() {
    let (mut one, two) = pair();
    one.writer.write_all(b"MLST\x09\x00\x02\x00{}").await.unwrap();
    let listening = listen(two, &identity(1, "w1"), &Secret::new("x"), &SystemRandom).await;
    assert!(matches!(listening.err(), Some(Error::Version(9))));
    let (answer, _) = receive::<Message>(&mut one).await.unwrap();
    assert!(matches!(answer, Message::Refused { reason } if reason == "protocol version 9 is not 1"));
}

#[tokio::test]
async fn a_dialer_with_a_forged_proof_is_refused() {
    let (mut one, two) = pair();
    let dialing = async {
        let hello = Message::Hello { purpose: Purpose::Control, identity: identity(1, "w0"), nonce: [0; 32] };
        send(&mut one, &hello).await.unwrap();
        receive::<Message>(&mut one).await.unwrap();
        let (Message::Proof { proof }, _) = receive(&mut one).await.unwrap() else { panic!("no proof") };
        // The listener's own proof, played back.
        send(&mut one, &Message::Proof { proof }).await.unwrap();
        receive::<Message>(&mut one).await.unwrap().0
    };
    let listener = identity(1, "w1");
    let secret = Secret::new("secret");
    let (answer, met) = tokio::join!(dialing, listen(two, &listener, &secret, &SystemRandom));
    assert!(matches!(met.err(), Some(Error::WrongSecret)));
    assert!(matches!(answer, Message::Refused { .. }));
}

#[tokio::test]
async fn a_stranger_is_turned_away() {
    let (mut one, two) = pair();
    one.writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let met = listen(two, &identity(1, "w1"), &Secret::new("x"), &SystemRandom).await;
    assert!(matches!(met.err(), Some(Error::Malformed(_))));
}
