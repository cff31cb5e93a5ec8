//! Online in the background: several front ends at once, messages from scripts, and a bot in five lines.

use e2e::World;
use netsim::netns::in_namespaces;
use serde_json::{Value, json};

use crate::{SOON, in_public};

/// The bot of the README. It says what was said to it, and knows no more.
const BOT: &str = r#"punchline up
punchline tail --json | while read -r line; do
  who=$(printf %s "$line" | jq -r 'select(.what == "message" and .dir == "in").peer')
  [ -z "$who" ] || printf %s "$line" | jq -r '"You said: " + .text' | punchline msg "$who" --wait device
done"#;

fn incoming(event: &Value) -> bool {
    event["event"] == "entry" && event["what"] == "message" && event["dir"] == "in"
}

#[test]
fn a_chat_begins_with_what_came_while_nobody_looked() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let (_alices, _bobs) = (alice.up()?, bob.up()?);
        for text in ["are you there?", "call me"] {
            assert_eq!(bob.command(&["msg", "alice", text, "--wait", "device"])?["state"], "device");
        }
        assert_eq!(alice.command(&["status"])?["unread"], 2);
        let mut chat = alice.chat(&bob)?;
        for text in ["are you there?", "call me"] {
            let kept = chat.expect("kept", SOON).event;
            assert_eq!((&kept["text"], &kept["unread"]), (&json!(text), &json!(true)), "{kept}");
        }
        chat.end_of_input();
        assert_eq!(chat.exit_code(SOON), 0);
        assert_eq!(alice.command(&["status"])?["unread"], 0);
        // He learns that they were read; and a second chat does not begin with them again.
        let mut again = alice.chat(&bob)?;
        assert_eq!(bob.command(&["msg", "alice", "?", "--wait", "read"])?["state"], "read");
        assert_eq!(again.count("kept"), 0, "{}", again.transcript());
        let mut history = bob.start(&["history", "alice"])?;
        assert_eq!(history.exit_code(SOON), 0);
        let states: Vec<Value> = history.said().iter().map(|said| said.event["state"].clone()).collect();
        assert_eq!(states, ["read", "read", "read"]);
        Ok(())
    });
}

#[test]
fn many_front_ends_use_one_connection() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let (_alices, _bobs) = (alice.up()?, bob.up()?);
        let mut heard = bob.start(&["tail"])?;
        heard.expect("started", SOON);
        let sent = alice.command(&["msg", "bob", "hello", "--wait", "device"])?;
        assert_eq!((&sent["event"], &sent["state"]), (&json!("sent"), &json!("device")));
        let entry = heard.expect_that("the message", SOON, incoming).event;
        assert_eq!((&entry["text"], &entry["id"]), (&json!("hello"), &sent["id"]));

        // Two chats of Alice see the same, and a ping goes in between.
        let (mut first, mut second) = (alice.chat(&bob)?, alice.chat(&bob)?);
        for chat in [&mut first, &mut second] {
            let started = chat.expect("started", SOON).event;
            assert_eq!(started["attached"], true);
            // They are told what stands.
            chat.expect("registered", SOON);
            chat.expect("path", SOON);
        }
        first.say("from the first window");
        second.expect_that("the same line", SOON, |event| event["text"] == "from the first window");
        for chat in [&mut first, &mut second] {
            chat.expect("receipt", SOON);
        }
        let ping = alice.command(&["ping", "bob"])?;
        assert_eq!((&ping["event"], &ping["route"]), (&json!("summary"), &json!("direct")));
        assert_eq!(bob.command(&["msg", "alice", "to both of you", "--wait", "device"])?["state"], "device");
        for chat in [&mut first, &mut second] {
            chat.expect_that("Bob's line", SOON, |event| event["text"] == "to both of you");
            chat.end_of_input();
            assert_eq!(chat.exit_code(SOON), 0);
        }
        let why = alice.command(&["why", "bob"])?;
        assert_eq!(why["result"], "direct", "it knows, and need not try again");
        let netcheck = alice.command(&["netcheck"])?;
        assert_eq!(netcheck["event"], "netcheck");
        Ok(())
    });
}

#[test]
fn a_message_to_somebody_who_is_offline_is_kept_and_goes_when_they_come() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let _alices = alice.up()?;
        let mut msg = alice.start(&["msg", "bob", "when you are back"])?;
        assert_eq!(msg.exit_code(SOON), 3, "{}", msg.transcript());
        let sent = msg.said().iter().find(|said| said.event["event"] == "sent").map(|said| said.event.clone());
        assert_eq!(sent.unwrap_or_default()["state"], "queued");
        let mut waits = alice.start(&["msg", "bob", "I wait for you", "--wait", "device", "--timeout", "60"])?;
        waits.expect("started", SOON);
        let mut bobs = bob.run()?;
        bobs.expect_that("the first message", SOON * 3, |event| event["text"] == "when you are back");
        bobs.expect_that("the second one", SOON, |event| event["text"] == "I wait for you");
        assert_eq!(waits.exit_code(SOON), 0);
        Ok(())
    });
}

#[test]
fn a_bot_in_five_lines_answers() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        assert_eq!(BOT.lines().count(), 5);
        // The first line of the bot is up already, so that it ends with the story.
        let (_alices, _bots) = (alice.up()?, bob.up()?);
        // It answers what was said from its start on; here that begins with the first line, however slow it starts.
        let bot = bob.script(&BOT.replace("tail --json", "tail --since 0 --json"))?;
        let mut chat = alice.chat(&bob)?;
        for line in ["hello", "quotes \" and $(false) and \\ are text"] {
            chat.say(line);
            let answer = format!("You said: {line}");
            chat.expect_that("the answer", SOON, |event| event["text"] == answer.as_str());
        }
        bot.kill();
        Ok(())
    });
}

#[test]
fn a_command_is_run_for_each_message_once_over_restarts() {
    in_namespaces(|| {
        let world = World::new()?;
        let (alice, bob) = in_public(&world)?;
        let (_alices, _bobs) = (alice.up()?, bob.up()?);
        let handled = bob.data().join("handled");
        let ran = || std::fs::read_to_string(&handled).unwrap_or_default();
        let script = format!("jq -r .text >> {}", handled.display());
        let on = ["on", "message", "--shell", "--exec", &script];
        let mut follower = bob.start(&on)?;
        follower.expect("started", SOON);
        assert_eq!(alice.command(&["msg", "bob", "one $(touch /oops)", "--wait", "device"])?["state"], "device");
        assert_eq!(follower.expect("ran", SOON).event["status"], 0);
        follower.kill();
        // What comes while nobody follows is not lost.
        assert_eq!(alice.command(&["msg", "bob", "two", "--wait", "device"])?["state"], "device");
        let mut follower = bob.start(&on)?;
        follower.expect("ran", SOON);
        assert_eq!(alice.command(&["msg", "bob", "three", "--wait", "device"])?["state"], "device");
        follower.expect("ran", SOON);
        assert_eq!(ran(), "one $(touch /oops)\ntwo\nthree\n");
        let mut second = bob.start(&on)?;
        assert_eq!(second.exit_code(SOON), 1, "one at a time has the bookmark");
        follower.signal(netsim::netns::Signal::SIGINT);
        assert_eq!(follower.exit_code(SOON), 0);

        // One that fails is run again, and given up in the end.
        let mut failing = bob.start(&["on", "message", "--exec", "false", "--tries", "2", "--name", "other"])?;
        failing.expect("started", SOON);
        alice.command(&["msg", "bob", "four"])?;
        let first = failing.expect("ran", SOON).event;
        assert_eq!((&first["attempt"], &first["status"], &first["again"]), (&json!(1), &json!(1), &json!(true)));
        let last = failing.expect("ran", SOON).event;
        assert_eq!((&last["attempt"], &last["again"]), (&json!(2), &json!(false)));
        Ok(())
    });
}
