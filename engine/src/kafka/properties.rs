//! librdkafka's properties: the operator's, ours where none were set, and ours that win.
//!
//! Ours win only where an answer would otherwise be wrong or never come.

use super::Error;
use super::native::Conf;

/// One property with its value, under librdkafka's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub name: Box<str>,
    pub value: Box<str>,
}

/// What is ours whatever the operator says, and why.
const OURS: [(&str, &str, &str); 4] = [
    (
        "delivery.report.only.error",
        "false",
        "every event's delivery is waited for",
    ),
    (
        "queue.buffering.max.messages",
        "0",
        "what may wait is bounded by shard.in_flight_bytes",
    ),
    (
        "queue.buffering.max.kbytes",
        "2147483647",
        "what may wait is bounded by shard.in_flight_bytes",
    ),
    (
        "log.queue",
        "true",
        "librdkafka's lines go to Ringtail's own log",
    ),
];

/// What no producer here can use, and why.
const WITHOUT_USE: [(&str, &str); 1] = [(
    "transactional.id",
    "live events are not sent in transactions",
)];

/// Names of one property.
const ALIASES: [(&str, &str); 5] = [
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("request.required.acks", "acks"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
];

/// The name that librdkafka's manual puts first.
fn plain(name: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, plain)| plain)
}

/// Whether `name` is the property that librdkafka's manual knows as `first`.
pub(super) fn is_known_as(name: &str, first: &str) -> bool {
    plain(name) == plain(first)
}

/// Whether librdkafka takes this value for this property; its own words if not.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    Conf::new().set(name, value)
}

/// librdkafka's default of a property; `None` when there is none of this name.
pub fn default(name: &str) -> Option<String> {
    let mut conf = Conf::new();
    // Topics' properties are there to be read as soon as one of them is set; this is its default.
    conf.set("request.timeout.ms", "30000").ok()?;
    let known = conf.get(name);
    // librdkafka does not tell texts that have no default from what it does not know at all.
    known.or_else(|| conf.set(name, "").is_ok().then(String::new))
}

/// The value that the operator gave a property, under any of its names.
pub fn find<'a>(properties: &'a [Property], name: &str) -> Option<&'a str> {
    let mut given = properties.iter().rev();
    let found = given.find(|property| plain(&property.name) == name)?;
    Some(&found.value)
}

/// The properties of which another than the operator's value counts, or that change what an acknowledgement
/// means: name and sentence, once for each.
pub fn remarks(properties: &[Property]) -> Vec<(Box<str>, String)> {
    let mut remarks = Vec::new();
    for property in properties {
        let name = &*property.name;
        if let Some((_, value, why)) = OURS.iter().find(|(ours, ..)| *ours == name) {
            if **value != *property.value {
                remarks.push((name.into(), format!("not in effect, because {why}")));
            }
        } else if let Some((_, why)) = WITHOUT_USE.iter().find(|(ours, _)| *ours == name) {
            remarks.push((name.into(), format!("not in effect, because {why}")));
        } else if find(properties, "enable.idempotence").is_none() && forbids_idempotence(property)
        {
            let what = if plain(name) == "acks" {
                "with it an acknowledgement does not say that every replica in sync has an event, and"
            } else {
                "with it"
            };
            let text = format!(
                "{what} enable.idempotence cannot be on, so retries may repeat or reorder events"
            );
            remarks.push((name.into(), text));
        }
    }
    remarks
}

/// What a forwarder's producer needs whatever the operator says: events that are in the log are sent until they are
/// delivered, in order, and once as far as brokers can tell.
const PATIENT: [(&str, &str); 3] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // For ever.
    ("message.timeout.ms", "0"),
];

/// The operator's properties with those of a forwarder.
pub fn patient(properties: &[Property]) -> Vec<Property> {
    let given = properties.iter().filter(|property| !is_impatient(property));
    let ours = PATIENT.map(|(name, value)| Property {
        name: name.into(),
        value: value.into(),
    });
    given.cloned().chain(ours).collect()
}

/// How long a topic is asked for before it counts as unknown. In transactions a whole journal waits meanwhile, and who
/// forwards has its own patience with topics, which would begin only then.
const PROPAGATION: (&str, &str) = ("topic.metadata.propagation.max.ms", "1000");

/// Everything for a producer of transactions under this id. How long it tries to deliver a record is bounded by the
/// transaction, so that property is not in effect.
pub(super) fn conf_of_transactions(properties: &[Property], id: &str) -> Result<Conf, Error> {
    let mut ours = vec![("transactional.id", id)];
    if find(properties, PROPAGATION.0).is_none() {
        ours.push(PROPAGATION);
    }
    conf_with(properties, &ours)
}

/// Everything for a client that reads what was committed, or all that there is.
pub(super) fn conf_of_reader(properties: &[Property], level: &str) -> Result<Conf, Error> {
    let ours = [
        ("isolation.level", level),
        ("enable.partition.eof", "true"),
        ("fetch.wait.max.ms", "50"),
    ];
    conf_with(properties, &ours)
}

fn conf_with(properties: &[Property], ours: &[(&str, &str)]) -> Result<Conf, Error> {
    let mut given = patient(properties);
    given.retain(|property| plain(&property.name) != "message.timeout.ms");
    let mut conf = conf(&given)?;
    for (name, value) in ours {
        conf.set(name, value).map_err(|reason| Error::Property {
            name: (*name).into(),
            reason,
        })?;
    }
    Ok(conf)
}

/// How long a transaction may be open, in milliseconds.
pub fn transaction_timeout_ms(properties: &[Property]) -> u64 {
    let given = find(properties, "transaction.timeout.ms");
    let given = given.and_then(|given| given.parse().ok());
    given.unwrap_or(TRANSACTION_TIMEOUT_MS)
}

/// librdkafka's default.
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;

/// The properties that do not count for a forwarder: name and sentence, once for each.
pub fn impatient(properties: &[Property]) -> Vec<(Box<str>, String)> {
    let given = properties.iter().filter(|property| is_impatient(property));
    let why =
        "not in effect, because events of the spool are sent until they are delivered, in order";
    given
        .map(|property| (property.name.clone(), why.to_owned()))
        .collect()
}

fn is_impatient(property: &Property) -> bool {
    let ours = PATIENT
        .iter()
        .find(|(name, _)| *name == plain(&property.name));
    let other = ours.is_some_and(|(_, value)| *value != &*property.value);
    other || forbids_idempotence(property)
}

/// Whether librdkafka refuses idempotence beside this.
fn forbids_idempotence(property: &Property) -> bool {
    let value = &*property.value;
    let number = value.parse::<i64>().ok();
    match plain(&property.name) {
        "acks" => !["all", "-1"].contains(&value),
        "max.in.flight.requests.per.connection" => number.is_some_and(|number| 5 < number),
        "retries" => number == Some(0),
        "queuing.strategy" => value == "lifo",
        _ => false,
    }
}

/// Everything together, for one producer.
pub(super) fn conf(properties: &[Property]) -> Result<Conf, Error> {
    let mut conf = Conf::new();
    let mut set = |name: &str, value: &str| {
        conf.set(name, value).map_err(|reason| Error::Property {
            name: name.into(),
            reason,
        })
    };
    set("client.id", "ringtail")?;
    set("acks", "all")?;
    if !properties.iter().any(forbids_idempotence) {
        set("enable.idempotence", "true")?;
    }
    let without_use = |name: &str| WITHOUT_USE.iter().any(|(other, _)| *other == name);
    for property in properties
        .iter()
        .filter(|property| !without_use(&property.name))
    {
        set(&property.name, &property.value)?;
    }
    for (name, value, _) in OURS {
        set(name, value)?;
    }
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(rows: &[(&str, &str)]) -> Vec<Property> {
        let property = |(name, value): &(&str, &str)| Property {
            name: (*name).into(),
            value: (*value).into(),
        };
        rows.iter().map(property).collect()
    }

    fn value(rows: &[(&str, &str)], name: &str) -> String {
        conf(&properties(rows)).unwrap().get(name).unwrap()
    }

    #[test]
    fn librdkafkas_own_words_say_what_is_wrong() {
        assert_eq!(check("linger.ms", "7"), Ok(()));
        let wrong = check("linger.ms", "soon").unwrap_err();
        assert!(wrong.contains("Invalid value"), "{wrong}");
        let unknown = check("linger.msec", "7").unwrap_err();
        assert!(unknown.contains("linger.msec"), "{unknown}");
        assert_eq!(default("acks").as_deref(), Some("-1"));
        assert_eq!(default("no.such"), None);
    }

    #[test]
    fn idempotence_and_all_replicas_are_the_default_and_can_be_given_up() {
        assert_eq!(value(&[], "enable.idempotence"), "true");
        assert_eq!(value(&[], "acks"), "-1");
        for (name, loose) in [
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("retries", "0"),
        ] {
            let rows = [(name, loose)];
            assert_eq!(value(&rows, "enable.idempotence"), "false", "{name}");
            let remarks = remarks(&properties(&rows));
            assert_eq!(remarks.len(), 1);
            assert!(remarks[0].1.contains("enable.idempotence"), "{remarks:?}");
        }
        assert_eq!(value(&[("acks", "all")], "enable.idempotence"), "true");
    }

    #[test]
    fn what_answers_depend_on_is_ours_and_said_so() {
        let rows = [
            ("delivery.report.only.error", "true"),
            ("queue.buffering.max.messages", "10"),
            ("transactional.id", "x"),
            ("linger.ms", "3"),
        ];
        assert_eq!(value(&rows, "delivery.report.only.error"), "false");
        assert_eq!(value(&rows, "queue.buffering.max.messages"), "0");
        assert_eq!(value(&rows, "linger.ms"), "3");
        assert!(
            conf(&properties(&rows))
                .unwrap()
                .get("transactional.id")
                .is_none_or(|id| id.is_empty())
        );
        let names = remarks(&properties(&rows));
        let names: Vec<&str> = names.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            [
                "delivery.report.only.error",
                "queue.buffering.max.messages",
                "transactional.id"
            ]
        );
    }

    #[test]
    fn the_last_of_several_names_counts() {
        let rows = properties(&[
            ("bootstrap.servers", "a:1"),
            ("metadata.broker.list", "b:2"),
        ]);
        assert_eq!(find(&rows, "bootstrap.servers"), Some("b:2"));
    }

    #[test]
    fn a_producer_of_transactions_has_its_id_and_no_patience_beyond_them() {
        let rows = [
            ("transactional.id", "theirs"),
            ("acks", "1"),
            ("message.timeout.ms", "7"),
            ("transaction.timeout.ms", "9000"),
        ];
        let given = properties(&rows);
        let conf = conf_of_transactions(&given, "ours").unwrap();
        let value = |name| conf.get(name).unwrap();
        assert_eq!(value("transactional.id"), "ours");
        assert_eq!(
            (value("acks"), value("enable.idempotence")),
            ("-1".into(), "true".into())
        );
        assert_eq!(value("transaction.timeout.ms"), "9000");
        assert_eq!(transaction_timeout_ms(&given), 9_000);
        assert_eq!(value(PROPAGATION.0), PROPAGATION.1);
        let patient = properties(&[(PROPAGATION.0, "7000")]);
        let patient = conf_of_transactions(&patient, "ours").unwrap();
        assert_eq!(patient.get(PROPAGATION.0).as_deref(), Some("7000"));
        let default = default("transaction.timeout.ms").unwrap();
        assert_eq!(default, transaction_timeout_ms(&[]).to_string());
        let reader = conf_of_reader(&given, "read_committed").unwrap();
        assert_eq!(reader.get("isolation.level").unwrap(), "read_committed");
    }

    #[test]
    fn a_forwarder_is_patient_whatever_the_operator_says() {
        let rows = [
            ("request.required.acks", "1"),
            ("delivery.timeout.ms", "5000"),
            ("retries", "0"),
            ("linger.ms", "3"),
        ];
        let given = properties(&rows);
        let conf = conf(&patient(&given)).unwrap();
        let value = |name| conf.get(name).unwrap();
        assert_eq!(value("enable.idempotence"), "true");
        assert_eq!(
            (value("acks"), value("linger.ms")),
            ("-1".into(), "3".into())
        );
        let told = impatient(&given);
        let told: Vec<&str> = told.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            told,
            ["request.required.acks", "delivery.timeout.ms", "retries"]
        );
    }
}
