//! Messages are answered, edited, reacted to, deleted, and read.

use e2e::{Person, Running, World};
use netsim::netns::in_namespaces;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{SOON, in_public};

fn history<C: e2e::Computer>(of: &Person<C>, with: &str) -> anyhow::Result<Vec<Value>> {
    let mut command = of.start(&["history", with])?;
    assert_eq!(command.exit_code(SOON), 0);
    Ok(command.said().iter().map(|said| said.event.clone()).collect())
}

#[test]
fn what_is_said_about_a_message_is_true_in_both_histories() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let (_alices, _bobs) = (alice.up()?, bob.up()?);
        let mut chat = bob.chat(&alice)?;
        chat.expect("started", SOON);
        let said = |text: &str| anyhow::Ok(alice.command(&["msg", "bob", text, "--wait", "device"])?["id"].clone());
        let (lunch, slip) = (said("lunch?")?, said("a slip")?);
        let (lunch, slip) = (lunch.as_str().unwrap_or_default(), slip.as_str().unwrap_or_default());

        // Bob in his chat, Alice on her command line.
        chat.expect_that("the second message", SOON, |event| event["text"] == "a slip");
        chat.say(&format!("/reply {} at noon", &lunch[..8]));
        chat.say(&format!("/react {} +1", &lunch[..8]));
        let reply = chat.expect_that("his answer", SOON, |event| event["reply_to"] == lunch).event["id"].clone();
        let reply = reply.as_str().unwrap_or_default().to_owned();
        for _ in 0..2 {
            chat.expect("receipt", SOON);
        }
        alice.command(&["edit", &lunch[..8], "dinner?", "--wait", "device"])?;
        alice.command(&["delete", &slip[..8], "--wait", "device"])?;
        alice.command(&["react", &reply[..8], "+1", "--wait", "device"])?;
        let edited = chat.expect("edited", SOON).event;
        assert_eq!((&edited["id"], &edited["text"], &edited["dir"]), (&json!(lunch), &json!("dinner?"), &json!("in")));
        assert_eq!(chat.expect("deleted", SOON).event["id"], json!(slip));
        let reaction = chat.expect("reaction", SOON).event;
        assert_eq!((&reaction["id"], &reaction["emoji"]), (&json!(reply), &json!("+1")));

        // Neither may touch what the other has said.
        for (person, id) in [(&alice, reply.as_str()), (&bob, lunch)] {
            let mut refused = person.start(&["edit", id, "I never said that"])?;
            assert_eq!(refused.exit_code(SOON), 2, "{}", refused.transcript());
            assert_eq!(refused.said().last().map(|said| said.event["kind"].clone()), Some(json!("usage")));
        }

        let unread = alice.command(&["status"])?["unread"].clone();
        assert_eq!(unread, 1, "Bob's answer");
        assert_eq!(alice.command(&["read", "bob"])?["messages"], 1);
        assert_eq!(alice.command(&["status"])?["unread"], 0);
        for (person, with, hers) in [(&alice, "bob", "out"), (&bob, "alice", "in")] {
            let told = history(person, with)?;
            assert_eq!(told.len(), 3, "{told:?}");
            let (own, peers) =
                if hers == "in" { ("own_reaction", "peer_reaction") } else { ("peer_reaction", "own_reaction") };
            assert_eq!(
                (&told[0]["id"], &told[0]["dir"], &told[0]["text"]),
                (&json!(lunch), &json!(hers), &json!("dinner?"))
            );
            assert_eq!(
                (&told[0]["edited"], &told[0][own], &told[0][peers]),
                (&json!(true), &json!("+1"), &Value::Null)
            );
            assert_eq!(
                (&told[1]["id"], &told[1]["text"], &told[1]["deleted"]),
                (&json!(slip), &json!(""), &json!(true))
            );
            assert_eq!((&told[2]["text"], &told[2]["reply_to"]), (&json!("at noon"), &json!(lunch)));
            assert_eq!((&told[2][peers], &told[2][own]), (&json!("+1"), &Value::Null));
        }
        Ok(())
    });
}

#[test]
fn nobody_sees_a_message_of_their_own_edited_or_deleted_by_somebody_else() {
    in_namespaces(|| {
        let mut world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let bobs = bob.up()?;
        let promise = alice.command(&["msg", "bob", "I never promised that", "--wait", "device"])?["id"].clone();
        drop(bobs);

        // With nobody there, Bob edits and deletes what he says himself; then he has his database say that it was about her words.
        world.kill_rendezvous();
        let own = bob.start(&["msg", "alice", "never mind", "--timeout", "0.05"])?;
        let own = queued(own)["id"].clone();
        queued(bob.start(&["edit", text(&own), "of course", "--timeout", "0.05"])?);
        queued(bob.start(&["delete", text(&own), "--timeout", "0.05"])?);
        let db = Connection::open(bob.data().join("messages.db"))?;
        let lie = "UPDATE message SET about = ?1, text = 'of course', voided = 0 WHERE about IS NOT NULL";
        assert_eq!(db.execute(lie, [bytes(text(&promise))])?, 2);
        drop(db);
        world.start_rendezvous()?;

        let mut chat = alice.chat(&bob)?;
        let _bobs = bob.up()?;
        bob.command(&["msg", "alice", "you did", "--wait", "device"])?;
        chat.expect_that("his last word", SOON, |event| event["text"] == "you did");
        assert_eq!((chat.count("edited"), chat.count("deleted")), (0, 0), "{}", chat.transcript());
        let told = history(&alice, "bob")?;
        let texts: Vec<&str> = told.iter().map(|message| text(&message["text"])).collect();
        assert_eq!(texts, ["I never promised that", "you did"]);
        assert_eq!(told[0].get("edited"), None, "{told:?}");
        Ok(())
    });
}

/// It is kept, and has gone nowhere yet.
fn queued(mut command: Running) -> Value {
    assert_eq!(command.exit_code(SOON), 6, "{}", command.transcript());
    let sent = command.said().iter().rfind(|said| said.event["event"] == "sent").map(|said| said.event.clone());
    sent.unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An id as the database has it.
fn bytes(id: &str) -> Vec<u8> {
    (0..id.len()).step_by(2).filter_map(|at| u8::from_str_radix(id.get(at..at + 2)?, 16).ok()).collect()
}
