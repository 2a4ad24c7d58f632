//! One datagram and its answer, for services that tell where another one listens. Each address is judged like one that is
//! dialled. Nothing in a datagram proves who sent it: take no more from an answer than what is verified afterwards.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{net::UdpSocket, time::timeout};

use super::{
    Endpoint, Network,
    obstacle::{Miss, of_obstacle},
    stream::Obstacle,
    targets::Admission,
};
use crate::failure::{Failure, FailureClass, Stage};

/// How often one address is asked: a datagram may be lost without anybody's fault.
const TRIES: u32 = 2;

/// Largest answer that is read, in bytes: what an Ethernet frame holds. A longer one is cut, and its end missing.
const ANSWER_LIMIT: usize = 1500;

impl Network {
    /// Sends `question` to the allowed addresses of `endpoint`, one after the other and each twice, until one answers. All of it
    /// takes half of the time that is left, so that silence is known as the cause before the deadline strikes. Enters `Reach`.
    ///
    /// # Errors
    /// What did not pass, about `endpoint`: as [`dial`](Network::dial), `ConnectionRefused` where the address says that nobody
    /// listens, `TimedOut` where nobody says anything.
    pub async fn ask_datagram(&self, endpoint: &Endpoint, question: &[u8]) -> Result<Vec<u8>, Failure> {
        self.step(Stage::Reach);
        self.turn_to(endpoint);
        self.try_datagram(endpoint, question).await.map_err(|failure| failure.about_at_least(&endpoint.shown()))
    }

    async fn try_datagram(&self, endpoint: &Endpoint, question: &[u8]) -> Result<Vec<u8>, Failure> {
        let addresses = self.allowed(endpoint, &self.resolve(&endpoint.host, self.remaining()).await?)?;
        let tries = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_mul(TRIES).max(1);
        let share = self.remaining() / 2 / tries;
        let mut told: Option<Miss> = None;
        for address in addresses.iter().flat_map(|address| [*address; TRIES as usize]) {
            let miss = match self.0.world.admit(&self.0.namespace, address) {
                Admission::Refused => Miss::TooManyTargets,
                Admission::Admitted => {
                    self.0.allowance.send(question.len()).map_err(|_| of_obstacle(Obstacle::OverBudget))?;
                    match timeout(share, exchange(address, question)).await {
                        Ok(Ok(answer)) => {
                            self.0.allowance.receive(answer.len()).map_err(|_| of_obstacle(Obstacle::OverBudget))?;
                            return Ok(answer);
                        }
                        Ok(Err(error)) => Miss::of(&error),
                        Err(_elapsed) => Miss::TimedOut,
                    }
                }
            };
            told = Some(told.map_or(miss, |other| other.min(miss)));
        }
        Err(told.map_or_else(|| Failure::new(FailureClass::NameResolutionFailed), Miss::failure))
    }
}

/// Asks from a port of its own that takes answers from `address` alone.
#[expect(clippy::disallowed_methods, reason = "this is the door: the address was judged, and the caller sets the time")]
async fn exchange(address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(question).await?;
    let mut answer = vec![0; ANSWER_LIMIT];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the other side of the door")]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{
        failure::{Proof, Report},
        net::{
            Policy, World, climb,
            stand_in::{Table, local_network},
        },
    };

    /// A service on loopback that answers what `answer` makes of the number of the question and the question.
    async fn serve(
        answer: impl Fn(usize, &[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut question = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(number, &question[..length]) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        (address, asked)
    }

    fn at(address: SocketAddr) -> Endpoint {
        Endpoint::exactly(&address.ip().to_string(), address.port())
    }

    async fn look(network: Network, endpoint: Endpoint, limit: Duration) -> Report {
        climb(network, limit, async move |net| net.ask_datagram(&endpoint, b"where?").await.map(|_| Proof::default()))
            .await
    }

    fn found(report: &Report) -> (Stage, FailureClass) {
        report.failure().map(|(stage, failure)| (stage, failure.class())).expect("it failed")
    }

    #[tokio::test]
    async fn the_answer_to_a_question_is_returned() {
        let (address, asked) = serve(|_, question| Some([question, b" there"].concat())).await;
        let answer = local_network(&[("db.shop.svc", &["127.0.0.1"])]);
        let answer = answer.ask_datagram(&Endpoint::of("db", address.port(), "shop"), b"where?").await.unwrap();
        assert_eq!((&answer[..], asked.load(Ordering::SeqCst)), (&b"where? there"[..], 1));
    }

    #[tokio::test]
    async fn a_question_that_is_lost_is_asked_once_more() {
        let (address, asked) = serve(|number, _| (number > 0).then(|| b"there".to_vec())).await;
        let report = look(local_network(&[]), at(address), Duration::from_secs(4)).await;
        assert!(report.proof().is_some(), "{report:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn silence_is_known_before_the_deadline_strikes() {
        let (address, asked) = serve(|_, _| None).await;
        let (begun, limit) = (Instant::now(), Duration::from_secs(2));
        let report = look(local_network(&[]), at(address), limit).await;
        assert_eq!(found(&report), (Stage::Reach, FailureClass::TimedOut));
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_at_refuses() {
        // Taken by a socket that hears one peer only: the kernel tells everybody else that nobody is there.
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        taken.connect("127.0.0.2:9").await.unwrap();
        let address = taken.local_addr().unwrap();
        let report = look(local_network(&[]), at(address), Duration::from_secs(5)).await;
        assert_eq!(found(&report), (Stage::Reach, FailureClass::ConnectionRefused));
    }

    #[tokio::test]
    async fn an_address_that_is_forbidden_is_not_asked() {
        let (address, asked) = serve(|_, _| Some(b"there".to_vec())).await;
        let world = World::new(Policy::default(), Table::of(&[]), 600);
        let report = look(world.network("shop"), at(address), Duration::from_secs(5)).await;
        assert_eq!(found(&report), (Stage::Reach, FailureClass::AddressNotAllowed));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn an_answer_of_somebody_else_is_not_heard() {
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut question).await {
                let _ = other.send_to(b"elsewhere", from).await;
            }
        });
        let report = look(local_network(&[]), at(address), Duration::from_millis(300)).await;
        assert_eq!(found(&report), (Stage::Reach, FailureClass::TimedOut));
    }

    #[tokio::test]
    async fn a_long_answer_is_cut() {
        let (address, _) = serve(|_, _| Some(vec![b'x'; 4000])).await;
        let answer = local_network(&[]).ask_datagram(&at(address), b"where?").await.unwrap();
        assert_eq!(answer.len(), ANSWER_LIMIT);
    }

    #[tokio::test]
    async fn datagrams_are_taken_from_the_budget_of_the_probe() {
        let (address, asked) = serve(|_, _| Some(vec![b'x'; ANSWER_LIMIT])).await;
        let network = local_network(&[]);
        let mut answers = 0;
        let failure = loop {
            match network.ask_datagram(&at(address), b"where?").await {
                Ok(_) => answers += 1,
                Err(failure) => break failure,
            }
        };
        assert_eq!((failure.class(), answers), (FailureClass::AnswerTooLarge, 1024 * 1024 / ANSWER_LIMIT));
        assert_eq!(asked.load(Ordering::SeqCst), answers + 1);
    }
}
