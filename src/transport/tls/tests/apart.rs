//! Sessions are never shared across identities, verifiers or roots, whatever the server's name.

use proptest::prelude::*;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};

use crate::transport::tls::tests::*;

/// Everyone who may meet: a server, and clients that differ.
struct World {
    authority: Authority,
    other_root: Authority,
    clients: Authority,
    leaves: [Leaf; 2],
}

impl World {
    fn new() -> Self {
        let clients = Authority::new();
        let leaves = ["x.example", "y.example"].map(|name| clients.sign(name));
        Self { authority: Authority::new(), other_root: Authority::new(), clients, leaves }
    }

    /// Asks for a certificate and serves who has none.
    fn server(&self) -> ServerTls {
        let server = mutual(&self.authority, &self.clients);
        server.client_certificate_optional().build().unwrap()
    }

    fn with(&self, leaf: usize) -> ClientTlsBuilder {
        let leaf = &self.leaves[leaf];
        self.authority.client().identity_pem(&leaf.pem, &leaf.key_pem)
    }

    /// Clients of rustls' making over one store, the same server's name in each.
    fn over_one_store(&self, version: &'static SupportedProtocolVersion) -> Vec<ClientTls> {
        let store = Resumption::in_memory_sessions(64);
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).unwrap();
        roots.add(self.other_root.der.clone()).unwrap();
        let base = self.authority.raw_client_of(&[version], None, &[]);
        let identified = self.authority.raw_client_of(&[version], Some(&self.leaves[0]), &[]);
        let mut wider = base.clone();
        let crypto = Provider::default().crypto();
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto);
        wider.dangerous().set_certificate_verifier(verifier.build().unwrap());
        let mut of_other = identified.clone();
        of_other.client_auth_cert_resolver = self
            .authority
            .raw_client_of(&[version], Some(&self.leaves[1]), &[])
            .client_auth_cert_resolver;
        [base, identified, wider, of_other]
            .into_iter()
            .map(|mut config| {
                config.resumption = store.clone();
                ClientTls::from_rustls(config)
            })
            .collect()
    }

    /// One of each kind; the first two and both of an identity are equal and yet apart.
    fn kinds(&self) -> Vec<ClientTls> {
        let plain = || self.authority.client();
        let built = [
            plain(),
            plain(),
            self.with(0),
            self.with(0),
            self.with(1),
            plain().roots_pem(&self.other_root.pem),
            self.with(0).roots_pem(&self.other_root.pem),
            plain().server_name("localhost"),
            plain().ticket_request(None),
            plain().session_capacity(33),
        ];
        let built = built.into_iter().map(|builder| builder.build().unwrap());
        let raw = [&TLS12, &TLS13].into_iter().flat_map(|version| self.over_one_store(version));
        built.chain(raw).collect()
    }
}

/// Every client dials when all before it have left sessions with the server: its first dial must
/// not find one, its second must.
#[tokio::test]
async fn no_two_configurations_resume_each_others_sessions() {
    let world = World::new();
    for backwards in [false, true] {
        let server = world.server();
        let mut clients: Vec<_> = world.kinds().into_iter().enumerate().collect();
        if backwards {
            clients.reverse();
        }
        for (kind, client) in &clients {
            assert!(!resumes(client, &server).await, "kind {kind} resumed another's session");
            assert!(resumes(client, &server).await, "kind {kind} did not resume its own");
        }
        assert_eq!(server.stats().full.count, clients.len() as u64);
    }
}

/// What the one above would find: a store of which two clients may indeed use each other's part.
#[tokio::test]
async fn one_verifier_and_one_identity_are_one_owner() {
    let world = World::new();
    let config = world.authority.raw_client(&[]);
    let server = world.server();
    let [a, b] = [config.clone(), config].map(ClientTls::from_rustls);
    assert!(!resumes(&a, &server).await && resumes(&b, &server).await);
}

/// What a test does with its clients.
#[derive(Clone, Copy, Debug)]
enum Step {
    Dial(usize),
    /// By a new configuration of this kind.
    Replace(usize, usize),
    /// By another client's present one.
    ReplaceByClient(usize, usize),
}

const CLIENTS: usize = 3;
const KINDS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..CLIENTS).prop_map(Step::Dial),
        1 => (0..CLIENTS, 0..KINDS).prop_map(|(client, kind)| Step::Replace(client, kind)),
        1 => (0..CLIENTS, 0..CLIENTS).prop_map(|(client, by)| Step::ReplaceByClient(client, by)),
    ]
}

/// What is known of a client without looking into it.
#[derive(Clone, Copy)]
struct Model {
    kind: usize,
    generation: u64,
    /// It has dialled under its present configuration.
    warm: bool,
}

async fn play(world: &World, steps: Vec<Step>) {
    let make = |kind: usize| match kind {
        0 => world.authority.client(),
        1 => world.with(0),
        2 => world.with(1),
        _ => world.with(1).roots_pem(&world.other_root.pem),
    };
    let shown = |kind: usize| match kind {
        0 => Vec::new(),
        1 => vec![Bytes::copy_from_slice(&world.leaves[0].der)],
        _ => vec![Bytes::copy_from_slice(&world.leaves[1].der)],
    };
    let server = world.server();
    let clients: Vec<ClientTls> = (0..CLIENTS).map(|kind| make(kind).build().unwrap()).collect();
    let mut models: Vec<Model> =
        (0..CLIENTS).map(|kind| Model { kind, generation: 1, warm: false }).collect();
    for step in steps {
        match step {
            Step::Dial(client) => {
                let model = &mut models[client];
                let (dialled, accepted) = dial(&clients[client], &server).await;
                let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap());
                assert_eq!((dialled.resumed, accepted.resumed), (model.warm, model.warm));
                assert_eq!(dialled.generation, model.generation);
                assert_eq!(accepted.peer_certificates, shown(model.kind));
                model.warm = true;
            }
            Step::Replace(client, kind) => {
                clients[client].replace(&make(kind).build().unwrap());
                let generation = models[client].generation + 1;
                models[client] = Model { kind, generation, warm: false };
            }
            Step::ReplaceByClient(client, by) => {
                clients[client].replace(&clients[by]);
                let generation = models[client].generation + 1;
                models[client] = Model { kind: models[by].kind, generation, warm: false };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A dial resumes if and only if this very client dialled before under this very
    /// configuration, and the server sees the identity of now.
    #[test]
    fn a_session_belongs_to_one_client_and_one_generation(
        steps in proptest::collection::vec(step(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&World::new(), steps));
    }
}

/// A verifier of clients that trusts `roots`.
fn verifier_of(roots: &Authority) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
    let mut store = RootCertStore::empty();
    store.add(roots.der.clone()).unwrap();
    let crypto = Provider::default().crypto();
    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(store), crypto)
        .build()
        .unwrap()
}

#[tokio::test]
async fn replaced_client_roots_judge_new_and_resumed_clients() {
    let world = World::new();
    let strangers = Authority::new();
    for version in [&TLS12, &TLS13] {
        let server = mutual(&world.authority, &world.clients).build().unwrap();
        let before = ServerTls::from_rustls((*server.shared.current.lock().config).clone())
            .with_client_verifier(verifier_of(&world.clients));
        let config = world.authority.raw_client_of(&[version], Some(&world.leaves[0]), &[]);
        let client = ClientTls::from_rustls(config);
        assert!(!resumes(&client, &server).await && resumes(&client, &server).await);

        // The same ticketer under stricter roots: the session is found, the client is not let in.
        server.replace(&before.clone().with_client_verifier(verifier_of(&strangers)));
        let error = dial(&client, &server).await.1.unwrap_err();
        assert_eq!(error.kind(), AcceptErrorKind::ResumedIdentityInvalid, "{version:?}");
        assert_eq!(server.stats().failed.count, 1);

        // The old roots again: the client was right all along.
        server.replace(&before);
        dial(&client, &server).await.1.unwrap();

        // A configuration of its own: nothing is resumed, and the certificate is not valid.
        server.replace(&mutual(&world.authority, &strangers).build().unwrap());
        let error = dial(&client, &server).await.1.unwrap_err();
        assert_eq!(error.kind(), AcceptErrorKind::ClientCertificateInvalid, "{version:?}");
        assert_eq!((server.generation(), server.stats().failed.count), (4, 2));
    }
}

/// A server that did not ask before, and does now.
#[tokio::test]
async fn a_resumed_client_without_certificate_is_not_let_in_where_one_is_required() {
    let world = World::new();
    let server = world.server();
    let client = world.authority.client().build().unwrap();
    assert!(!resumes(&client, &server).await && resumes(&client, &server).await);
    server.replace(&server.clone().with_client_verifier(verifier_of(&world.clients)));
    let error = dial(&client, &server).await.1.unwrap_err();
    assert_eq!(error.kind(), AcceptErrorKind::ResumedIdentityInvalid);
}
