//! Messages are answered, edited, reacted to, deleted, and read.

use e2e::{Person, World};
use netsim::netns::in_namespaces;
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
