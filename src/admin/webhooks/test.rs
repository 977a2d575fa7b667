//! A signed call of this box to itself, through the address that Sonar is given: what works of the way here, hop by hop.
//!
//! What can be seen from inside is not all of what Sonar sees. A router need not let the box reach its own public address
//! (hairpin): then the test says that it cannot tell, and Sonar's next call will.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Of, hook, named, refuse_unknown, shown};
use crate::admin::answers::Query;
use crate::admin::{Admin, Problem, Shared, shapes};
use crate::domain::certificate::{self, Anchor};
use crate::domain::delivery::Payload;
use crate::domain::ids::{DeliveryId, OrganizationRef, ProjectKey};
use crate::domain::limits::{HANDSHAKE_MAX, WEBHOOK_TEST_ANSWER_BYTES_MAX, WEBHOOK_TEST_STEP_MAX};
use crate::domain::signature::{self, Secret, to_hex};
use crate::domain::time::Timestamp;
use crate::store::{catalogue, deliveries};
use crate::sys::reach::is_private;
use crate::sys::trust::{Authorities, Distrust, Trust, distrust_of};
use crate::sys::{clock, random};

/// `POST /organizations/{organization}/webhook/test`.
pub(in crate::admin) async fn test(
    State(admin): Shared,
    Path(organization): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<shapes::WebhookTest>, Problem> {
    of.remark();
    let (call, endpoint) = admin
        .run(move |admin| {
            let (organization, project) = named(admin, &organization, of.project.as_deref())?;
            if let Some(project) = &project {
                refuse_unknown(admin, &organization, project)?;
            }
            let hook = hook(admin, &organization, project.as_ref())?;
            let webhook = admin.store.read(|view| shown(admin, view, &hook, true))?;
            if !webhook.listening {
                return Err(Problem::conflict("this box takes no webhooks: it was started with --webhook-listen off")
                    .remedy("Sonar is asked every few minutes instead; nothing is to be tested"));
            }
            let secret = webhook.secret.as_deref().ok_or_else(|| Problem::conflict("the webhook has no secret"))?;
            let secret = Secret::parse(secret).map_err(|error| Problem::conflict(error.to_string()))?;
            let own = admin.certificates.get().and_then(|held| held.shown()).filter(|_| admin.webhook_tls);
            let own = own.map(|shown| shown.chosen().certified.cert.clone()).unwrap_or_default();
            let uri = webhook.url.parse();
            let uri = uri.map_err(|_| Problem::conflict(format!("the address {} cannot be called", webhook.url)))?;
            let mark = to_hex(&random::bytes::<16>());
            let body = Payload::test_body(&mark, project.as_ref());
            let signature = secret.sign(body.as_bytes());
            let trust = admin.work.sources.trust().clone();
            let name = organization.source.clone();
            let source = admin.store.read::<_, Problem>(|view| Ok(catalogue::source(view, &name)?))?;
            let cloud = source.is_some_and(|source| source.cloud);
            let (trusted, remedy) = (admin.way(), admin.way_told(Some(cloud)).remedy);
            let url = webhook.url;
            let call =
                Call { url, uri, organization, project, mark, body, signature, own, trust, cloud, trusted, remedy };
            Ok((call, hook.endpoint))
        })
        .await?;
    let test = call.make(&admin).await;
    admin.tests.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint, test.clone());
    Ok(Json(test))
}

/// What is sent, and where.
struct Call {
    url: String,
    uri: Uri,
    organization: OrganizationRef,
    project: Option<ProjectKey>,
    mark: String,
    body: String,
    signature: String,
    /// The certificate of this box with its chain, where its listener shows one.
    own: Vec<CertificateDer<'static>>,
    trust: Trust,
    /// Whether SonarQube Cloud is to call.
    cloud: bool,
    /// The way on which it trusts this box.
    trusted: certificate::Way,
    /// What is to be done for it.
    remedy: Option<String>,
}

/// The way as far as it was gone.
struct Way {
    begun: Instant,
    hops: Vec<shapes::WebhookHop>,
}

impl Way {
    fn hop(&mut self, hop: &str, state: &str, text: String) {
        let milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.hops.push(shapes::WebhookHop { hop: hop.to_owned(), state: state.to_owned(), text, milliseconds });
    }
}

/// Why the way ends.
struct End {
    hop: &'static str,
    text: String,
    remedy: String,
    /// Whether the same would happen to Sonar, as far as that can be told from here.
    judged: bool,
}

impl End {
    fn failed(hop: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { hop, text: text.into(), remedy: remedy.into(), judged: true }
    }
}

impl Call {
    async fn make(self, admin: &Arc<Admin>) -> shapes::WebhookTest {
        let at = clock::now();
        let mut way = Way { begun: Instant::now(), hops: Vec::new() };
        let ended = self.go(&mut way).await;
        let delivery = self.arrived(admin, at).await;
        self.told(at, way, ended, delivery)
    }

    fn told(
        self,
        at: Timestamp,
        mut way: Way,
        ended: Result<String, End>,
        delivery: Option<DeliveryId>,
    ) -> shapes::WebhookTest {
        let (result, text, remedy) = match (ended, delivery) {
            (Ok(answer), Some(id)) => {
                way.hop("answer", "ok", answer);
                way.hop("arrival", "ok", format!("The signature is right, and the call is written to disk as {id}"));
                let warned = way.hops.iter().any(|hop| hop.state == "warning");
                let remedy = self.remedy.clone().filter(|_| warned);
                let remedy = remedy.map(|remedy| {
                    let who = if self.cloud { "SonarQube Cloud" } else { "The Server" };
                    format!("{who} refuses {}: {remedy}.", untrusted(self.trusted))
                });
                ("arrived", "A signed call came in through the public address.".to_owned(), remedy)
            }
            (Ok(answer), None) => {
                way.hop("answer", "warning", answer);
                way.hop("arrival", "failed", "The call did not arrive at this box".to_owned());
                let remedy =
                    "The address leads to something else that answers: see where the proxy or tunnel sends it.";
                ("failed", "Somebody else answered in this box's place.".to_owned(), Some(remedy.to_owned()))
            }
            (Err(end), Some(id)) => {
                way.hop(end.hop, "failed", end.text);
                way.hop("arrival", "warning", format!("The call is written to disk as {id}"));
                let text = "The call arrived, and its answer did not come back: Sonar would count it as failed.";
                ("failed", text.to_owned(), Some(end.remedy))
            }
            (Err(end), None) if end.judged => {
                way.hop(end.hop, "failed", end.text);
                ("failed", "The call did not arrive.".to_owned(), Some(end.remedy))
            }
            (Err(end), None) => {
                way.hop(end.hop, "not_judged", end.text);
                let text = "It cannot be judged from inside whether Sonar reaches this box.";
                ("not_judged", text.to_owned(), Some(end.remedy))
            }
        };
        shapes::WebhookTest {
            url: self.url,
            at: at.to_string(),
            result: result.to_owned(),
            text,
            remedy,
            hops: way.hops,
            delivery: delivery.map(|id| id.to_string()),
        }
    }

    /// Whether the listener has it, whatever came back.
    async fn arrived(&self, admin: &Arc<Admin>, sent_at: Timestamp) -> Option<DeliveryId> {
        let (organization, mark) = (self.organization.clone(), self.mark.clone());
        admin
            .read(move |_, view| Ok(deliveries::test_arrived(view, &organization, &mark, sent_at)?))
            .await
            .ok()
            .flatten()
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    async fn go(&self, way: &mut Way) -> Result<String, End> {
        let addresses = self.resolve(way).await?;
        let stream = self.connect(way, &addresses).await?;
        if !self.is_tls() {
            return self.ask(stream).await;
        }
        // What this box shows itself is seen through to the end: whether Sonar believes it is another matter.
        let end = self.own.last().filter(|_| matches!(self.trusted, certificate::Way::TrustStore(_)));
        let trusted = end.cloned().map(Authorities::of_certificate).unwrap_or_default();
        // Roots are read from the disk.
        let trust = self.trust.clone();
        let config = tokio::task::spawn_blocking(move || trust.client_config(&trusted));
        let config =
            config.await.map_err(|_| End::failed("certificate", "TLS cannot be begun", "see this box's log"))?;
        let name = ServerName::try_from(self.host().to_owned()).map_err(|_| {
            End::failed(
                "certificate",
                format!("{} is no name that a certificate can have", self.host()),
                "correct the address",
            )
        })?;
        let stream = match timeout(HANDSHAKE_MAX, TlsConnector::from(config).connect(name, stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.distrusted(&error)),
            Err(_) => return Err(End::failed("certificate", "TLS was not agreed on within 10 s", NO_TLS_REMEDY)),
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let until =
            shown.and_then(|shown| valid_until(shown)).unwrap_or_else(|| "a time that cannot be read".to_owned());
        let is_told_of = matches!(self.trusted, certificate::Way::TrustStore(_));
        if is_told_of && shown.is_some_and(|shown| self.own.first() == Some(shown)) {
            way.hop(
                "certificate",
                "warning",
                format!("The certificate is this box's own, valid until {until}: Sonar must be told to trust it"),
            );
        } else {
            way.hop("certificate", "ok", format!("The certificate is trusted, and valid until {until}"));
        }
        self.ask(stream).await
    }

    async fn resolve(&self, way: &mut Way) -> Result<Vec<SocketAddr>, End> {
        let port = self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        let host = self.host();
        let found = timeout(WEBHOOK_TEST_STEP_MAX, lookup_host((host, port))).await;
        let addresses: Vec<_> = found.into_iter().flatten().flatten().collect();
        let Some(first) = addresses.first() else {
            return Err(End::failed(
                "name",
                format!("The name {host} is not known"),
                "Enter the name in the DNS that Sonar asks, or correct the public address.",
            ));
        };
        if host.parse::<IpAddr>().is_err() {
            way.hop("name", "ok", format!("The name {host} leads to {}", first.ip()));
        }
        Ok(addresses)
    }

    async fn connect(&self, way: &mut Way, addresses: &[SocketAddr]) -> Result<TcpStream, End> {
        let mut last = None;
        for address in addresses {
            match timeout(WEBHOOK_TEST_STEP_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    way.hop("connection", "ok", format!("{address} takes the connection"));
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some((*address, in_words(&error))),
                Err(_) => last = Some((*address, "does not answer within 10 s".to_owned())),
            }
        }
        let (address, why) = last.expect("there is at least one address");
        if is_private(address.ip()) {
            return Err(End::failed("connection", format!("{address} {why}"), NO_CONNECTION_REMEDY));
        }
        Err(End {
            hop: "connection",
            text: format!("{address} {why}, seen from inside"),
            remedy: HAIRPIN_REMEDY.to_owned(),
            judged: false,
        })
    }

    fn distrusted(&self, error: &std::io::Error) -> End {
        let host = self.host();
        let Some(distrust) = distrust_of(error) else {
            return End::failed("certificate", format!("TLS failed: {error}"), NO_TLS_REMEDY);
        };
        let (text, remedy) = match distrust {
            // Sonar may have been told of an authority that this box was not told of.
            Distrust::UnknownIssuer { issuer } => {
                let issuer = issuer.map_or_else(|| "somebody".to_owned(), |issuer| format!("\"{issuer}\""));
                return End {
                    hop: "certificate",
                    text: format!("The certificate was issued by {issuer}, which this box does not know"),
                    remedy: "Whether Sonar knows that authority, its next call will tell.".to_owned(),
                    judged: false,
                };
            }
            Distrust::WrongName { presented } => (
                format!("The certificate is made for {}, not for {host}", presented.join(", ")),
                format!("Use a name that the certificate has, or give the listener a certificate for {host}."),
            ),
            Distrust::Expired => ("The certificate has expired".to_owned(), "Renew it.".to_owned()),
            Distrust::NotYetValid => {
                ("The certificate is not valid yet".to_owned(), "See whether this box's clock is right.".to_owned())
            }
            Distrust::Other(reason) => (format!("The certificate cannot be used: {reason}"), "Replace it.".to_owned()),
        };
        End::failed("certificate", text, remedy)
    }

    /// Sends the call as Sonar does, and says what was answered, if that is what Sonar would take for a success.
    async fn ask<S>(&self, stream: S) -> Result<String, End>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let answer = timeout(WEBHOOK_TEST_STEP_MAX, self.exchange(stream)).await;
        let (status, headers) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                return Err(End::failed("answer", format!("No answer of HTTP came: {why}"), NO_TLS_REMEDY));
            }
            Err(_) => {
                return Err(End::failed(
                    "answer",
                    "No answer came within 10 s",
                    "See whether something on the way holds requests back.",
                ));
            }
        };
        let code = status.as_u16();
        let (text, remedy) = match code {
            202 => return Ok("The call was answered with 202".to_owned()),
            200..=299 => return Ok(format!("The call was answered with {code}, which this box never does")),
            300..=399 => (
                format!("The answer is {code}: go to {}", target(&headers)),
                "Set the public address to where it leads in the end; Sonar follows one such step only.",
            ),
            401 | 400 | 415 => (
                format!("The answer is {code}: the call does not arrive as it was sent"),
                "Let the proxy or tunnel pass body and headers on unchanged.",
            ),
            404 => (
                "The answer is 404: nobody knows that path there".to_owned(),
                "Let the proxy or tunnel pass on paths that begin with /hooks/ as they are.",
            ),
            502..=504 => (
                format!("The answer is {code}: the proxy or tunnel does not reach this box, or its disk is full"),
                "Let it lead to the webhook listener, which `hydrophone status` names.",
            ),
            _ => (format!("The answer is {code}"), "See what answers at this address."),
        };
        Err(End::failed("answer", text, remedy))
    }

    async fn exchange<S>(&self, stream: S) -> Result<(StatusCode, HeaderMap), String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let host = self.uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::post(self.uri.path())
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("Hydrophone/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
            .header(signature::HEADER, &self.signature);
        if let Some(project) = &self.project {
            request = request.header("x-sonarqube-project", project.as_str());
        }
        let request = request.body(Full::new(Bytes::from(self.body.clone()))).map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| error.to_string());
        let answer = match answer {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                // What stands in it does not matter: whether the call arrived is seen in the store.
                let _ = Limited::new(body, WEBHOOK_TEST_ANSWER_BYTES_MAX).collect().await;
                Ok((head.status, head.headers))
            }
            Err(error) => Err(error),
        };
        driver.abort();
        answer
    }
}

fn target(headers: &HeaderMap) -> String {
    let target = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    target.map_or_else(|| "an address that is not named".to_owned(), |target| target.chars().take(200).collect())
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refuses the connection".to_owned(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => "cannot be reached".to_owned(),
        _ => format!("cannot be connected to ({error})"),
    }
}

/// The day on which a certificate ends.
fn valid_until(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let end = jiff::Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
    Some(end.to_zoned(jiff::tz::TimeZone::UTC).strftime("%-d %b %Y").to_string())
}

const HAIRPIN_REMEDY: &str = "Many routers do not let a box reach its own public address. Start any analysis in Sonar: \
    its call shows whether it arrives.";
const NO_CONNECTION_REMEDY: &str = "See that the address is this box's, that the port is the webhook listener's, and that \
    no firewall is between.";
const NO_TLS_REMEDY: &str = "See what listens at this address; the public address may begin with the wrong one of https:// \
    and http://.";

/// A certificate that SonarQube does not trust by itself.
fn untrusted(way: certificate::Way) -> &'static str {
    match way {
        certificate::Way::TrustStore(Anchor::Private) => "a certificate of an authority of your own",
        _ => "the certificate that this box made itself",
    }
}
