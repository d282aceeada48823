use super::*;

#[test]
fn scripts_are_read() {
    let script: Script = "abort,chunk=3,times=2,marker=/m,speed=10".parse().unwrap();
    assert_eq!(script.fault, Fault::Abort);
    assert_eq!((script.chunk, script.times, script.speed), (3, 2, 10.0));
    assert!("explode".parse::<Script>().is_err());
    assert!("abort,chunk=x".parse::<Script>().is_err());
}

#[test]
fn a_marker_folder_limits_the_faults_of_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script {
        fault: Fault::Abort,
        times: 2,
        marker: Some(folder.path().into()),
        ..Script::default()
    };
    let strikes = (0..5).filter(|_| script.strikes(Fault::Abort)).count();
    assert_eq!(strikes, 2);
}

#[test]
fn different_samples_give_different_text() {
    assert_ne!(text_of(&[0.1, 0.2]), text_of(&[0.2, 0.1]));
    assert_eq!(text_of(&[0.1, 0.2]), text_of(&[0.1, 0.2]));
}
