;; Functions for CREATE FUNCTION … LANGUAGE WASM AS 'sql-examples/functions/text.wat#…'. A module is usually compiled
;; from Rust or C for wasm32-unknown-unknown; Runnel reads the text form as well.
(module
  (memory (export "memory") 2)
  ;; The next free byte. Texts are dealt out one after the other and taken back all at once by dealloc.
  (global $free (mut i32) (i32.const 65536))
  (func (export "alloc") (param $length i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $length))))
  (func (export "dealloc") (param i32 i32)
    (global.set $free (i32.const 65536)))

  ;; The greatest common divisor: (BIGINT, BIGINT) -> BIGINT.
  (func (export "gcd") (param $a i64) (param $b i64) (result i64)
    (local $rest i64)
    (block $done
      (loop $again
        (br_if $done (i64.eqz (local.get $b)))
        (local.set $rest (i64.rem_s (local.get $a) (local.get $b)))
        (local.set $a (local.get $b))
        (local.set $b (local.get $rest))
        (br $again)))
    (local.get $a))

  ;; Capital letters for a to z: (STRING) -> STRING. Changes the text in place and gives pointer and length back.
  (func (export "shout") (param $pointer i32) (param $length i32) (result i64)
    (local $at i32)
    (local $letter i32)
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (local.get $at) (local.get $length)))
        (local.set $letter (i32.load8_u (i32.add (local.get $pointer) (local.get $at))))
        (if (i32.and (i32.ge_u (local.get $letter) (i32.const 97)) (i32.le_u (local.get $letter) (i32.const 122)))
          (then (i32.store8 (i32.add (local.get $pointer) (local.get $at)) (i32.sub (local.get $letter) (i32.const 32)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $again)))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $pointer)) (i64.const 32)) (i64.extend_i32_u (local.get $length))))

  ;; Never ends: (INT) -> INT.
  (func (export "forever") (param i32) (result i32)
    (loop $again (br $again))
    (i32.const 0)))
